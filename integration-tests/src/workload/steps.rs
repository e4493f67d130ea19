//! The transactions of one writer.

use bytes::Bytes;
use fastrand::Rng;
use futures_util::SinkExt;
use std::fmt::Write;
use tokio_postgres::{Client, Error};

/// Above Postgres's threshold for values stored aside, and random enough not to compress below it.
const LARGE: std::ops::Range<usize> = 2500..6000;
const REGIONS: [&str; 4] = ["north", "south", "east", "west"];

/// One writer: its generator, and numbers that no other writer gives out.
#[derive(Debug)]
pub(super) struct Writer {
    number: u64,
    writers: u64,
    given: u64,
    random: Rng,
}

impl Writer {
    pub(super) fn new(number: u64, writers: u64, random: Rng) -> Self {
        Self { number, writers, given: 0, random }
    }

    /// One transaction: whether it committed. After an error the connection is still in it.
    pub(super) async fn transaction(&mut self, client: &Client) -> Result<bool, Error> {
        client.batch_execute("BEGIN").await?;
        for _ in 0..self.random.u32(1..6) {
            if self.chance(15) {
                self.savepoint(client).await?;
            } else {
                self.step(client).await?;
            }
        }
        let commit = !self.chance(8);
        client.batch_execute(if commit { "COMMIT" } else { "ROLLBACK" }).await?;
        Ok(commit)
    }

    /// Some steps that are kept or taken back together.
    async fn savepoint(&mut self, client: &Client) -> Result<(), Error> {
        client.batch_execute("SAVEPOINT part").await?;
        for _ in 0..self.random.u32(1..4) {
            self.step(client).await?;
        }
        let end = if self.chance(50) { "ROLLBACK TO part" } else { "RELEASE part" };
        client.batch_execute(end).await
    }

    async fn step(&mut self, client: &Client) -> Result<(), Error> {
        let sql = match self.random.u32(0..100) {
            0..10 => self.new_customer(),
            10..22 => self.change_customer(),
            22..25 => format!("DELETE FROM customers WHERE {}", self.one_of("customers")),
            25..38 => self.new_order(),
            38..47 => self.change_order(),
            47..52 => self.renumber(),
            52..55 => format!("DELETE FROM orders WHERE {}", self.one_of("orders")),
            55..61 => self.new_document(),
            61..69 => self.change_document(),
            69..78 => self.visits(),
            78..82 => return self.copy(client).await,
            82..85 => self.baskets(),
            85..92 => self.measurements(),
            _ => self.event(),
        };
        client.batch_execute(&sql).await
    }

    fn new_customer(&mut self) -> String {
        let (id, name) = (self.fresh(), self.word());
        let active = ["true", "false", "NULL"][self.random.usize(0..3)];
        let biography = match self.chance(40) {
            true => format!("'{}'", self.large()),
            false => "NULL".to_owned(),
        };
        let (cents, day) = (self.random.i32(-99_999..99_999), self.random.i32(-9000..9000));
        format!(
            "INSERT INTO customers (id, name, balance, active, born, biography) VALUES
             ({id}, '{name}', {cents} / 100.0, {active}, date '2000-01-01' + {day}, {biography})"
        )
    }

    fn change_customer(&mut self) -> String {
        let change = match self.random.u32(0..10) {
            0 => format!("biography = '{}'", self.large()),
            1 => "biography = NULL".to_owned(),
            2 => format!("id = {}", self.fresh()),
            3..6 => format!("name = '{}', active = NOT active", self.word()),
            _ => "balance = balance + 1.05, tier = tier + 1".to_owned(),
        };
        format!("UPDATE customers SET {change} WHERE {}", self.one_of("customers"))
    }

    /// An order with its lines, and the event that tells of it.
    fn new_order(&mut self) -> String {
        let (id, customer) = (self.fresh(), self.random.u64(0..100));
        let note = if self.chance(30) { format!("'{}'", self.large()) } else { "NULL".to_owned() };
        let mut sql = format!(
            "INSERT INTO orders (id, customer, total, note) VALUES ({id}, {customer}, 9.99, {note});"
        );
        for line in 1..self.random.u32(2..6) {
            let (sku, quantity) = (self.word(), self.random.u32(1..9));
            let price = ["NULL", "12.50", "0.333", "-7", "1000000"][self.random.usize(0..5)];
            let _ = write!(
                sql,
                "INSERT INTO order_lines VALUES ({id}, {line}, '{sku}', {quantity}, {price});"
            );
        }
        sql + &self.event()
    }

    fn change_order(&mut self) -> String {
        let change = match self.random.u32(0..5) {
            0 => format!("note = '{}'", self.large()),
            1 => format!("total = {}", self.random.u32(0..10_000)),
            _ => format!("status = '{}'", self.word()),
        };
        let change = format!("UPDATE orders SET {change} WHERE {};", self.one_of("orders"));
        if self.chance(50) { change + &self.event() } else { change }
    }

    /// Changes of keys: of an order and with it its lines, of the lines of one order, of a document.
    fn renumber(&mut self) -> String {
        let id = self.fresh();
        match self.random.u32(0..3) {
            0 => format!("UPDATE orders SET id = {id} WHERE {}", self.one_of("orders")),
            1 => {
                let order = self.one_of("orders").replacen("id", "order_id", 1);
                format!(
                    "UPDATE order_lines SET line = -line, quantity = quantity + 1 WHERE {order}"
                )
            }
            _ => format!("UPDATE documents SET id = {id} WHERE {}", self.one_of("documents")),
        }
    }

    fn new_document(&mut self) -> String {
        let (id, body, details) = (self.fresh(), self.large(), self.word());
        let image = if self.chance(50) { self.large_hex() } else { String::new() };
        format!(
            "INSERT INTO documents (id, body, image, details) VALUES
             ({id}, '{body}', decode('{image}', 'hex'), '{{\"title\": \"{details}\", \"n\": [1, null]}}')"
        )
    }

    fn change_document(&mut self) -> String {
        let which = self.one_of("documents");
        match self.random.u32(0..8) {
            0 => format!("UPDATE documents SET body = '{}' WHERE {which}", self.large()),
            1 => format!("UPDATE documents SET image = NULL, details = NULL WHERE {which}"),
            2 => format!("DELETE FROM documents WHERE {which}"),
            _ => format!("UPDATE documents SET views = views + 1 WHERE {which}"),
        }
    }

    /// Rows that may be the same, found by place because they have no key.
    fn visits(&mut self) -> String {
        let (page, skip) = (self.random.u32(0..4), self.random.u32(0..30));
        let one = format!(
            "ctid = (SELECT ctid FROM visits OFFSET {skip} LIMIT 1 FOR UPDATE SKIP LOCKED)"
        );
        match self.random.u32(0..6) {
            0..3 => format!("INSERT INTO visits VALUES (1, 'p{page}', 1), (1, 'p{page}', 1)"),
            3..5 => format!("UPDATE visits SET seconds = seconds + 1 WHERE {one}"),
            _ => format!("DELETE FROM visits WHERE {one}"),
        }
    }

    /// Rows that share one position in the log.
    async fn copy(&mut self, client: &Client) -> Result<(), Error> {
        let mut rows = String::new();
        for _ in 0..self.random.u32(2..60) {
            let (id, content) = (self.fresh(), self.word());
            let _ = writeln!(rows, "{id}\t{content} \\\\ \\t ü\t\\N");
        }
        let sink = client.copy_in("COPY baskets FROM STDIN").await?;
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from(rows)).await?;
        sink.finish().await?;
        Ok(())
    }

    fn baskets(&mut self) -> String {
        let which = self.one_of("baskets");
        match self.random.u32(0..8) {
            0 => "TRUNCATE baskets".to_owned(),
            1..3 => format!("DELETE FROM baskets WHERE {which}"),
            _ => format!("UPDATE baskets SET items = coalesce(items, 0) + 1 WHERE {which}"),
        }
    }

    fn measurements(&mut self) -> String {
        let (id, other) = (self.fresh(), self.fresh());
        let region = REGIONS[self.random.usize(0..REGIONS.len())];
        let which = self.one_of("measurements");
        match self.random.u32(0..6) {
            0..2 => format!(
                "INSERT INTO measurements VALUES ('{region}', {id}, 0.25, '2026-01-02 03:04:05.6'),
                 ('{region}', {other}, -1.5, NULL)"
            ),
            // Another partition, unless it lies in this one.
            2 => format!("UPDATE measurements SET region = '{region}' WHERE {which}"),
            3 => format!("UPDATE measurements SET id = {id} WHERE {which}"),
            4 => format!("DELETE FROM measurements WHERE {which}"),
            _ => format!("UPDATE measurements SET value = value * 2 WHERE {which}"),
        }
    }

    /// Few aggregates, so that writers meet at them.
    fn event(&mut self) -> String {
        let route = super::ROUTES[self.random.usize(0..super::ROUTES.len())];
        let (aggregate, more, remove) = (self.random.u32(0..20), self.word(), self.chance(50));
        format!("SELECT emit('{route}', '{aggregate}', 'Changed', '{more}', {remove})")
    }

    /// A condition for one row, if there are any: that of the next identity.
    fn one_of(&mut self, table: &str) -> String {
        let from = self.random.u64(0..=self.number + self.given * self.writers);
        format!("id = (SELECT id FROM {table} WHERE id >= {from} ORDER BY id LIMIT 1)")
    }

    fn fresh(&mut self) -> u64 {
        self.given += 1;
        self.given * self.writers + self.number
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.u32(0..100) < percent
    }

    fn word(&mut self) -> String {
        let length = self.random.usize(3..12);
        (0..length).map(|_| self.random.lowercase()).collect()
    }

    fn large(&mut self) -> String {
        let length = self.random.usize(LARGE);
        (0..length).map(|_| self.random.alphanumeric()).collect()
    }

    fn large_hex(&mut self) -> String {
        let length = self.random.usize(LARGE);
        (0..length).map(|_| format!("{:02x}", self.random.u8(..))).collect()
    }
}
