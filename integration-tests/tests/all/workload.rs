//! A random concurrent workload, after which the topics hold what the database holds: undisturbed,
//! with walferry stopped in the middle, with walferry killed in the middle.

use std::collections::BTreeSet;

use integration_tests::mirror::{Cell, Fault, Mirror, Report, rebuild};
use integration_tests::mirror::{Facts, Kind};
use integration_tests::{Config, Database, Kafka, Postgres, Registry, Shop, Walferry, Workload};

/// A shop on a server of this version, and walferry's configuration for it.
struct Scene {
    database: Database,
    config: Config,
    kafka: &'static Kafka,
    registry: &'static Registry,
}

impl Scene {
    async fn new(stem: &str, version: u16) -> Self {
        let (postgres, kafka, registry) =
            tokio::join!(Postgres::shared_version(version), Kafka::shared(), Registry::shared());
        let database = postgres.database(stem).await;
        let config = Shop::configure(Config::new(stem, &database, kafka, registry));
        Self { database, config, kafka, registry }
    }

    async fn compare(&self, shop: &Shop<'_>) -> Vec<Report> {
        shop.wait_confirmed(&self.config).await;
        shop.compare(&self.config, self.kafka, self.registry).await
    }
}

async fn undisturbed(version: u16) {
    let scene = Scene::new("random", version).await;
    let shop = Shop::create(&scene.database).await;
    let walferry = Walferry::run(&scene.config).await;
    let tally = Workload::new(u64::from(version)).run(&shop).await;
    assert!(tally.committed > tally.conflicts, "{tally:?}");
    for report in scene.compare(&shop).await {
        report.assert_exact();
        // Baskets are truncated now and then, perhaps last of all.
        let may_be_empty = report.subject == "public.baskets";
        assert!((report.rows > 0 || may_be_empty) && report.changes > 0, "{report}");
    }
    sees_faults(&scene, &shop).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

/// The comparison is worth something: what it called right it calls wrong after each kind of damage.
async fn sees_faults(scene: &Scene, shop: &Shop<'_>) {
    let mirror = Mirror::new(scene.kafka, scene.registry, &scene.database);
    let facts = Facts::read(&scene.database, "public.customers").await;
    let changes = mirror.changes(&facts, &scene.config.topic("public.customers")).await;
    let committed = shop.committed("public.customers").await;
    let faults = |changes: &[_]| rebuild::check(&facts, changes, Some(&committed)).faults;
    assert_eq!(faults(&changes), []);

    let last = facts.rows.last().and_then(|row| facts.key_of(row));
    let at = changes.iter().rposition(|change| change.key == last).expect("a change of the row");
    let mut dropped = changes.clone();
    dropped.remove(at);
    assert!(faults(&dropped).iter().any(|fault| matches!(fault, Fault::Count { .. })));

    let mut altered = changes.clone();
    let after = altered[at].after.as_mut().expect("the row is there");
    after.insert("name".to_owned(), Cell::Text("altered".to_owned()));
    let columns = vec!["name".to_owned()];
    assert_eq!(faults(&altered), [Fault::Different { key: last.unwrap_or_default(), columns }]);

    let updated = changes.iter().rposition(|change| change.kind == Kind::Update);
    let second = updated.expect("an update of a customer");
    let same = |change: &rebuild::Change| change.key == changes[second].key;
    let first = changes[..second].iter().rposition(same).expect("what it updated");
    let mut swapped = changes.clone();
    swapped.swap(first, second);
    assert!(faults(&swapped).iter().any(|fault| matches!(fault, Fault::Order { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_equal_tables_on_the_oldest_postgres() {
    undisturbed(Postgres::oldest_version()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_equal_tables_on_the_newest_postgres() {
    undisturbed(Postgres::newest_version()).await;
}

async fn stopped_in_the_middle(version: u16) {
    let scene = Scene::new("stopped", version).await;
    let shop = Shop::create(&scene.database).await;
    let mut walferry = Walferry::run(&scene.config).await;
    let work = Workload::new(100 + u64::from(version)).start(&shop).await;
    let shares = [0.3, 0.6];
    for share in shares {
        work.reached(share).await;
        assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
        walferry = Walferry::run(&scene.config).await;
    }
    work.finish().await;
    let mut again = BTreeSet::new();
    for report in scene.compare(&shop).await {
        report.assert_right();
        again.extend(report.repeated_transactions);
    }
    // Of a stop only the transaction that was arriving at that moment may come again.
    assert!(again.len() <= shares.len(), "transactions that came twice: {again:?}");
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_loses_and_repeats_nothing_on_the_oldest_postgres() {
    stopped_in_the_middle(Postgres::oldest_version()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_loses_and_repeats_nothing_on_the_newest_postgres() {
    stopped_in_the_middle(Postgres::newest_version()).await;
}

async fn killed_in_the_middle(version: u16) {
    let scene = Scene::new("killed", version).await;
    let shop = Shop::create(&scene.database).await;
    let mut walferry = Walferry::run(&scene.config).await;
    let work = Workload::new(200 + u64::from(version)).start(&shop).await;
    for share in [0.2, 0.4, 0.6, 0.8] {
        work.reached(share).await;
        walferry.kill();
        walferry = Walferry::run(&scene.config).await;
    }
    work.finish().await;
    // Repeats are counted, and are suffixes of what each key had: else there is a fault.
    for report in scene.compare(&shop).await {
        report.assert_right();
    }
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_and_keep_the_order_on_the_oldest_postgres() {
    killed_in_the_middle(Postgres::oldest_version()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_and_keep_the_order_on_the_newest_postgres() {
    killed_in_the_middle(Postgres::newest_version()).await;
}
