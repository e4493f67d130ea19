//! The commands of an operator, as processes: what they print and exit with, and that their remedies
//! do what they say.

mod check;
mod schema;
mod startup;
mod tail;

use integration_tests::walferry::command;
use integration_tests::{Config, Database, Kafka, Postgres, Registry, Walferry, wait};
use serde_json::Value;

/// A command at its end.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Expects an exit code.
    fn exits(self, code: i32) -> Said {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    /// Expects a text in what was printed to either stream.
    fn says(self, text: &str) -> Said {
        assert!(self.out.contains(text) || self.err.contains(text), "{text}: {self:?}");
        self
    }
}

/// Runs `walferry` with arguments separated by spaces.
async fn walferry(arguments: &str, config: &Config) -> Said {
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let output = command(&arguments, Some(config)).await;
    Said {
        code: output.status.code().expect("an exit code"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// A shop with one table, on the servers that all tests share.
struct Shop {
    database: Database,
    kafka: &'static Kafka,
    config: Config,
}

impl Shop {
    async fn open(stem: &str) -> Shop {
        Shop::open_on(Postgres::shared().await, stem).await
    }

    async fn open_on(postgres: &Postgres, stem: &str) -> Shop {
        let (kafka, registry) = (Kafka::shared().await, Registry::shared().await);
        let database = postgres.database(stem).await;
        database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)").await;
        let config = Config::new(stem, &database, kafka, registry).table("public.orders");
        Shop { database, kafka, config }
    }

    async fn insert(&self, id: i64) {
        self.database.execute(&format!("INSERT INTO orders VALUES ({id}, 'note {id}')")).await;
    }

    /// Runs walferry until everything committed by now is confirmed, then stops it in order.
    async fn deliver(&self) {
        let walferry = Walferry::run(&self.config).await;
        let lsn = self.database.current_lsn().await;
        self.database.wait_confirmed(&self.config.slot(), lsn, wait::LONG).await;
        assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    }

    /// Expects a start to end with exit code 2 and to say `text`, twice: nothing heals by itself.
    async fn refuses(&self, text: &str) {
        for _ in 0..2 {
            let walferry = Walferry::start(&self.config);
            assert_eq!(walferry.wait_exit(wait::LONG).await, 2, "{}", walferry.log());
            assert!(walferry.log().contains(text), "{text}: {}", walferry.log());
        }
    }

    /// The ids of the rows delivered so far, in order, repeats included.
    async fn delivered(&self) -> Vec<i64> {
        let records = self.kafka.records(&self.config.topic("public.orders")).await;
        let registry = Registry::shared().await;
        let decoder = integration_tests::Decoder::new(registry);
        let mut ids = Vec::new();
        for record in &records {
            let event = decoder.event(record).await;
            ids.push(event.key["id"].as_i64().expect("an id"));
        }
        ids
    }

    /// Replaces the position record.
    async fn set_record(&self, value: Option<&[u8]>) {
        let topic = self.config.position_topic();
        self.kafka.produce(&topic, Some(self.config.name().as_bytes()), value).await;
    }

    async fn position(&self) -> Value {
        walferry("position show --json", &self.config).await.exits(0).json()
    }

    async fn status(&self, code: i32) -> Value {
        walferry("slot status --json", &self.config).await.exits(code).json()
    }
}
