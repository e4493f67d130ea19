//! `walferry schema` prints what a run registers, to the byte.

use integration_tests::Registry;
use serde_json::Value;

use super::{Shop, walferry};

const TABLES: &str = "
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE kinds (
  id int GENERATED ALWAYS AS IDENTITY, tenant text NOT NULL, amount numeric(10, 2) DEFAULT 1.50,
  feeling mood, tags text[] NOT NULL, at timestamptz DEFAULT now(), data jsonb, raw bytea,
  twice int GENERATED ALWAYS AS (length(tenant) * 2) STORED,
  PRIMARY KEY (tenant, id));
CREATE TABLE by_index (a int NOT NULL, b text, secret text);
CREATE UNIQUE INDEX by_index_a ON by_index (a);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_a;
CREATE TABLE parts (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parts_2026 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE outbox (id uuid, aggregatetype text, aggregateid text, type text, payload jsonb);";

const ROWS: &str = "
INSERT INTO kinds (tenant, tags) VALUES ('t', '{a}');
INSERT INTO by_index VALUES (1, 'b', 's');
INSERT INTO parts VALUES (1, '2026-11-24');
INSERT INTO outbox VALUES (gen_random_uuid(), 'Order', '1', 'made', '{}');";

#[tokio::test(flavor = "multi_thread")]
async fn it_prints_what_a_run_registers() {
    let mut shop = Shop::open("schema").await;
    let registry = Registry::shared().await;
    shop.database.execute(TABLES).await;
    let topic = "topic = { regex = \"(.*)\", replacement = \"NAME.event.$1\" }";
    shop.config = shop
        .config
        .clone()
        .table("public.kinds")
        .table_with("public.by_index", "exclude_columns = [\"secret\"]")
        .table("public.parts")
        .outbox_with("public.outbox", &topic.replace("NAME", shop.config.name()));
    let before = walferry("schema", &shop.config).await.exits(0);
    shop.deliver().await;
    shop.database.execute(ROWS).await;
    shop.insert(1).await;
    shop.deliver().await;
    let after = walferry("schema", &shop.config).await.exits(0);
    assert_eq!(before.out, after.out, "the schemas do not depend on a run");

    for table in ["orders", "kinds", "by_index", "parts"] {
        for half in ["key", "value"] {
            let said = walferry(&format!("schema public.{table} --{half}"), &shop.config).await;
            let printed = said.exits(0).out;
            let subject = format!("{}-{half}", shop.config.topic(&format!("public.{table}")));
            let (_, registered) = registry.latest(&subject).await.expect(&subject);
            assert_eq!(printed.trim_end(), registered, "{subject}");
            let heading = format!("# public.{table}, {half}: subject {subject}\n");
            let (_, pretty) = after.out.split_once(&heading).expect("a heading");
            let mut pretty = serde_json::Deserializer::from_str(pretty).into_iter::<Value>();
            let pretty = pretty.next().expect("a schema").expect("JSON");
            assert_eq!(pretty, serde_json::from_str::<Value>(&registered).expect("JSON"));
        }
    }
    for half in ["key", "value"] {
        let said = walferry(&format!("schema public.outbox --{half}"), &shop.config).await;
        let subject = format!("{}.event.Order-{half}", shop.config.name());
        let (_, registered) = registry.latest(&subject).await.expect(&subject);
        assert_eq!(said.exits(0).out.trim_end(), registered, "{subject}");
    }
    assert!(after.out.contains(&format!("subject {}.event.ROUTE-value", shop.config.name())));
    assert!(!after.out.contains("parts_2026") && !after.out.contains("twice"), "{}", after.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_listed_has_none() {
    let shop = Shop::open("unlisted").await;
    shop.database.execute("CREATE TABLE other (id int PRIMARY KEY)").await;
    let said = walferry("schema public.other public.orders", &shop.config).await.exits(2);
    assert!(said.out.is_empty(), "{said:?}");
    said.says("not listed, or not there: public.other").says("[[table]]");
}
