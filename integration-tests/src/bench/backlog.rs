//! Rows that wait in a slot, as often as they are wanted.
//!
//! Publication and slot are made before the rows; that slot is never read. Each repetition reads a
//! copy of it, which begins at the same place, so all contenders drain the same backlog.

use crate::postgres::{Database, Lsn};
use crate::unique;

/// The name of the publication.
const PUBLICATION: &str = "bench";
/// The slot that is only copied.
const ORIGINAL: &str = "bench_original";

/// What the rows look like and how they are committed.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// For the report.
    pub description: &'static str,
    pub table: &'static str,
    /// Columns as in `CREATE TABLE`.
    pub columns: &'static str,
    /// The select list that makes row number `n`.
    pub row: &'static str,
    pub rows_per_transaction: u64,
}

impl Shape {
    /// Ten columns of the usual types, about 190 bytes of text a row, in transactions of 100.
    pub const ORDERS: Shape = Shape {
        description: "10 columns, transactions of 100 rows",
        table: "public.orders",
        columns: "id bigint PRIMARY KEY, customer_id integer NOT NULL, \
                  status varchar(20) NOT NULL, amount numeric(12,2) NOT NULL, \
                  quantity smallint NOT NULL, weight double precision, \
                  express boolean NOT NULL, note text, placed_on date, \
                  updated_at timestamptz NOT NULL",
        row: "n, (n * 7919 % 100000)::int, \
              (ARRAY['new', 'paid', 'packed', 'shipped', 'delivered'])[1 + n % 5], \
              (n % 1000000) / 100.0, (1 + n % 9)::smallint, (n % 1000) / 8.0::float8, n % 3 = 0, \
              'note ' || md5(n::text) || ' ' || md5((n + 1)::text), \
              date '2026-01-01' + (n % 300)::int, \
              timestamptz '2026-01-01 00:00:00+00' + n * interval '1 millisecond'",
        rows_per_transaction: 100,
    };
}

/// A table, its publication and a slot with rows in it.
pub struct Backlog<'a> {
    database: &'a Database,
    shape: Shape,
    rows: u64,
}

impl<'a> Backlog<'a> {
    /// Makes table, publication and slot.
    pub async fn prepare(database: &'a Database, shape: Shape) -> Self {
        let Shape { table, columns, row, .. } = shape;
        database
            .execute(&format!(
                "CREATE TABLE {table} ({columns});
                 CREATE PUBLICATION {PUBLICATION} FOR TABLE {table};
                 CREATE PROCEDURE fill(first bigint, last bigint, step bigint) LANGUAGE plpgsql AS $$
                 BEGIN
                     WHILE first <= last LOOP
                         INSERT INTO {table} SELECT {row}
                         FROM generate_series(first, least(first + step - 1, last)) n;
                         COMMIT;
                         first := first + step;
                     END LOOP;
                 END $$"
            ))
            .await;
        let backlog = Self { database, shape, rows: 0 };
        backlog.create_slot(ORIGINAL).await;
        backlog
    }

    /// Adds rows.
    pub async fn fill(&mut self, rows: u64) {
        let (first, last) = (self.rows + 1, self.rows + rows);
        let step = self.shape.rows_per_transaction;
        let client = self.database.connect().await;
        let call = format!("CALL fill({first}, {last}, {step})");
        // The commit at the end takes all before it to the disk.
        for statement in
            ["SET synchronous_commit = off", &call, "SET synchronous_commit = on", "CHECKPOINT"]
        {
            client
                .batch_execute(statement)
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
        self.rows = last;
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn publication(&self) -> &'static str {
        PUBLICATION
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The end of the log: past all rows so far.
    pub async fn end(&self) -> Lsn {
        self.database.current_lsn().await
    }

    /// A slot of that name that has the rows after it.
    pub async fn create_slot(&self, name: &str) {
        let sql = format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')");
        self.database.execute(&sql).await;
    }

    /// A new slot that has all rows, those before it and those after it.
    pub async fn copy_slot(&self) -> String {
        let name = unique("bench");
        let sql = format!("SELECT pg_copy_logical_replication_slot('{ORIGINAL}', '{name}')");
        self.database.execute(&sql).await;
        name
    }

    /// Drops a slot that nobody reads any more.
    pub async fn drop_slot(&self, name: &str) {
        self.database.wait_slot_active(name, false, crate::wait::LONG).await;
        self.database.execute(&format!("SELECT pg_drop_replication_slot('{name}')")).await;
    }
}
