//! The table itself: one list a section, in the order of the reference.

use super::DefaultValue::{Absent, Required, Toml, Words};
use super::{DefaultValue, Key, Status};

const fn key(
    name: &'static str,
    kind: &'static str,
    default: DefaultValue,
    meaning: &'static str,
) -> Key {
    Key { name, kind, default, meaning, secret: false, status: Status::Available }
}

/// A key whose value is never shown.
const fn secret(
    name: &'static str,
    kind: &'static str,
    default: DefaultValue,
    meaning: &'static str,
) -> Key {
    Key { name, kind, default, meaning, secret: true, status: Status::Available }
}

/// A key of which only today's value is accepted; the first of `today` is the default.
const fn fixed(
    name: &'static str,
    today: &'static [&'static str],
    later: &'static [&'static str],
    instead: &'static str,
    meaning: &'static str,
) -> Key {
    let default = match today {
        [first, ..] => Toml(first),
        [] => Absent,
    };
    Key {
        name,
        kind: "fixed for now",
        default,
        meaning,
        secret: false,
        status: Status::Later { today, later, instead },
    }
}

/// A key that is not there yet with any value.
const fn later(name: &'static str, instead: &'static str) -> Key {
    fixed(name, &[], &[], instead, "")
}

pub(super) const TOP: &[Key] = &[
    key(
        "name",
        "string",
        Required,
        "The deployment's name: prefix of its topics, Debezium's source name, part of the names of \
         its slot, publication and position topic. 1 to 64 of `a-z A-Z 0-9 . _ -`. Changing it \
         makes a new deployment.",
    ),
    key(
        "shutdown_timeout",
        "duration",
        Toml("\"20s\""),
        "How long a stop may take to drain what is in flight and confirm it. From 1s to 10m.",
    ),
    key("postgres", "table", Required, "The database: see `[postgres]`."),
    key("kafka", "table", Required, "The brokers: see `[kafka]`."),
    key("registry", "table", Required, "The schema registry: see `[registry]`."),
    key("topics", "table", Absent, "How topics are created: see `[topics]`."),
    key("format", "table", Absent, "What records look like: see `[format]`."),
    key("snapshot", "table", Absent, "What is there already: see `[snapshot]`."),
    key("http", "table", Absent, "Metrics and probes: see `[http]`."),
    key("admin", "table", Absent, "Requests to a running instance: see `[admin]`."),
    key("messages", "table", Absent, "Logical messages as records: see `[messages]`."),
    key("table", "list of tables", Absent, "The tables to deliver: see `[[table]]`."),
    key("outbox", "list of tables", Absent, "The outbox tables: see `[[outbox]]`."),
];

pub(super) const POSTGRES: &[Key] = &[
    secret(
        "url",
        "string",
        Required,
        "`postgres://user@host:port/database?parameters`, as libpq reads it; see below.",
    ),
    secret(
        "password",
        "string",
        Absent,
        "The password; best from the environment: `\"${PGPASSWORD}\"`.",
    ),
    key(
        "password_file",
        "string",
        Absent,
        "A file that holds the password, instead of `password`; a final line end is left out.",
    ),
    key(
        "slot",
        "string",
        Words("`walferry_<name>`"),
        "The replication slot, 1 to 63 of `a-z 0-9 _`. The default has `name` in lower case, with \
         `_` for `-` and `.`.",
    ),
    key(
        "slot_manage",
        "`auto` or `never`",
        Toml("\"auto\""),
        "`auto`: the slot is created at the first start. `never`: the operator creates it.",
    ),
    key(
        "publication",
        "string",
        Words("`walferry_<name>`"),
        "The publication, 1 to 55 bytes; `<publication>_inserts` is the one for outbox tables and \
         tables with `inserts_only`.",
    ),
    key(
        "publication_manage",
        "`auto` or `never`",
        Toml("\"auto\""),
        "`auto`: both publications are created and kept in step with the tables listed here. \
         `never`: the operator does that.",
    ),
    key(
        "publish_via_partition_root",
        "boolean",
        Toml("true"),
        "One topic for a partitioned table; `false`: one for each of its leaves.",
    ),
    key(
        "connect_timeout",
        "duration",
        Toml("\"10s\""),
        "For each host. From 1s to 10m. Also in the URL, in seconds.",
    ),
    key(
        "stall_disconnect",
        "duration",
        Toml("\"30s\""),
        "When the brokers have acknowledged nothing for this long while something is in flight, \
         replication is left until they answer, so that Postgres can be shut down meanwhile. From \
         1s to 1h.",
    ),
    key(
        "read_nap",
        "duration",
        Toml("\"500us\""),
        "How long a reader that is behind waits after a short read, so that the next one finds \
         more. `\"0s\"` turns it off. At most 100ms.",
    ),
    key(
        "max_message_bytes",
        "size",
        Toml("\"64MiB\""),
        "The largest message taken from the server: one row with all its columns. A larger one \
         stops the stream with an error. From 64KiB to 1GiB.",
    ),
    key(
        "keepalives",
        "boolean",
        Toml("true"),
        "TCP keepalive on connections to Postgres. Also in the URL, as 1 or 0.",
    ),
    key(
        "keepalives_idle",
        "duration",
        Toml("\"60s\""),
        "How long a connection is idle before TCP keepalive probes it. From 1s to 2h. Also in the \
         URL, in seconds.",
    ),
    fixed(
        "failover",
        &["false"],
        &[],
        "leave it out, and create a failover slot yourself with `slot_manage = \"never\"`",
        "A slot that is carried over to standbys.",
    ),
    later("takeover", "leave it out: a second instance waits until the slot is free"),
];

pub(super) const KAFKA: &[Key] = &[
    key(
        "bootstrap_servers",
        "string",
        Required,
        "Brokers to begin with: `host:port`, several with commas between.",
    ),
    fixed(
        "delivery",
        &["\"at-least-once\""],
        &["exactly-once"],
        "`delivery = \"at-least-once\"`",
        "What happens to records that were in flight when a process died: with `at-least-once` \
         they can arrive twice.",
    ),
    key(
        "max_in_flight_records",
        "integer",
        Toml("20000"),
        "The most records that are produced and not acknowledged. From 1 to 1000000.",
    ),
    key(
        "max_in_flight_bytes",
        "size",
        Toml("\"16MiB\""),
        "The most bytes of keys and values that are produced and not acknowledged; at least twice \
         `max_record_bytes`. From 64KiB to 1GiB.",
    ),
    key(
        "max_record_bytes",
        "size",
        Toml("\"1MB\""),
        "The largest record that the topics take (`max.message.bytes`); judged before a record is \
         produced. From 1000 bytes to 512MiB.",
    ),
    secret(
        "properties",
        "table",
        Absent,
        "Any librdkafka property that walferry does not own; see below. Values are never printed.",
    ),
];

pub(super) const REGISTRY: &[Key] = &[
    secret(
        "url",
        "string or list of strings",
        Required,
        "The Confluent-compatible API, `http` or `https`; several are tried in turn.",
    ),
    key("username", "string", Absent, "For basic authentication."),
    secret("password", "string", Absent, "The password of `username`."),
    key("password_file", "string", Absent, "A file that holds it, instead of `password`."),
    secret("bearer_token", "string", Absent, "A token, instead of `username`."),
    key("bearer_token_file", "string", Absent, "A file that holds it, instead of `bearer_token`."),
    key(
        "ca_file",
        "string",
        Absent,
        "A PEM file with the only roots to trust, instead of the system's.",
    ),
    key("timeout", "duration", Toml("\"10s\""), "For one request. From 100ms to 10m."),
    key(
        "auto_register",
        "boolean",
        Toml("true"),
        "`false`: schemas are only looked up, and one that is not registered stops the stream.",
    ),
];

pub(super) const TOPICS: &[Key] = &[
    key(
        "create",
        "boolean",
        Toml("true"),
        "Create missing topics before their first record; `false`: a missing one stops the stream.",
    ),
    key("partitions", "integer", Words("the broker's"), "Of a topic that is created; at least 1."),
    key(
        "replication_factor",
        "integer",
        Words("the broker's"),
        "Of a topic that is created. From 1 to 32767.",
    ),
    key(
        "config",
        "table",
        Absent,
        "Topic settings such as `\"retention.ms\"`, for a topic that is created.",
    ),
];

pub(super) const FORMAT: &[Key] = &[
    fixed(
        "envelope",
        &["\"debezium\""],
        &["flat", "plain"],
        "`envelope = \"debezium\"`",
        "Debezium's envelope: before, after, source, op.",
    ),
    fixed(
        "debezium_exact",
        &["false"],
        &[],
        "`debezium_exact = false`: where Debezium invents a value, the honest one is written",
        "Also write the values that Debezium invents.",
    ),
    key(
        "name_adjustment",
        "`none`, `avro` or `avro_unicode`",
        Toml("\"none\""),
        "What becomes of column and schema names that Avro does not allow. `none`: such a name \
         stops the stream. `avro`: `_` for each illegal character. `avro_unicode`: `_uXXXX`.",
    ),
    key("truncate", "boolean", Toml("false"), "Write TRUNCATE as a record (`op` = `t`)."),
    key(
        "skip",
        "list of strings",
        Toml("[]"),
        "Operations to leave out: `c`, `u`, `d`, or `create`, `update`, `delete`.",
    ),
    key("tombstones", "boolean", Toml("true"), "A null record after each delete, for compaction."),
    key(
        "unavailable_value",
        "string",
        Toml("\"__debezium_unavailable_value\""),
        "Stands for a large value that an update did not change and Postgres did not send.",
    ),
    key(
        "before_delete",
        "`key` or `null`",
        Toml("\"key\""),
        "A delete's `before` under replica identity default. `key`: the key columns, and for the \
         others NULL or Debezium's placeholder, marked by the header `walferry.before`. `null`: \
         nothing.",
    ),
    key(
        "column_defaults",
        "boolean",
        Toml("true"),
        "State the columns' defaults in schemas, as Debezium does. `false` for a registry that \
         refuses some (Apicurio: `'{}'` of a jsonb column, `NaN`); a NOT NULL column added later \
         is then no compatible change.",
    ),
    key(
        "context_headers",
        "boolean",
        Toml("false"),
        "Debezium's `__debezium.context.*` headers on each record, about 150 bytes.",
    ),
    fixed(
        "transactions",
        &["false"],
        &[],
        "leave it out: `source` holds transaction and LSN of each record",
        "Debezium's transaction topic and block.",
    ),
    fixed(
        "decimals",
        &["\"precise\""],
        &["double", "string"],
        "`decimals = \"precise\"`",
        "How numeric is written.",
    ),
    fixed(
        "times",
        &["\"adaptive\""],
        &["adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds"],
        "`times = \"adaptive\"`",
        "How dates and times are written.",
    ),
    fixed(
        "intervals",
        &["\"numeric\""],
        &["string"],
        "`intervals = \"numeric\"`: microseconds",
        "How interval is written.",
    ),
    fixed(
        "binary",
        &["\"bytes\""],
        &["base64", "base64-url-safe", "hex"],
        "`binary = \"bytes\"`",
        "How bytea is written.",
    ),
    later("hstore", "leave it out: hstore is written in Postgres's text form"),
    fixed(
        "unknown_types",
        &["\"text\""],
        &["drop", "bytes"],
        "`unknown_types = \"text\"`, or name such columns in `exclude_columns`",
        "How types without a mapping are written: in Postgres's text form.",
    ),
    fixed("money_fraction_digits", &["2"], &[], "`money_fraction_digits = 2`", "Scale of money."),
    fixed(
        "source_types",
        &["[]"],
        &[],
        "leave it out",
        "Tables whose schemas carry the columns' Postgres types.",
    ),
    later("flat", "leave it out: the envelope is `debezium`"),
];

pub(super) const SNAPSHOT: &[Key] = &[
    key(
        "mode",
        "`initial` or `never`",
        Toml("\"initial\""),
        "`initial`: the rows that are there come first, as `op` = `r`; also those of tables that are \
         listed later. `never`: records begin with the first change after the slot was created. \
         See [snapshots.md](snapshots.md).",
    ),
    key(
        "engine",
        "`auto`, `frozen` or `windows`",
        Toml("\"auto\""),
        "`frozen`: at one exported snapshot, while the stream is held. `windows`: in chunks of the \
         primary key, while the stream goes on; a table that does not allow it is read `frozen`. \
         `auto`: `frozen` at the first start, but for tables larger than `frozen_max_bytes`; \
         `windows` for tables that are listed later.",
    ),
    key(
        "frozen_max_bytes",
        "size",
        Toml("\"100GB\""),
        "See `engine`: size of a table with its TOAST values and without its indexes. From 1MiB.",
    ),
    key(
        "tables",
        "list of strings",
        Words("all that `[[table]]` lists"),
        "Patterns as in `[[table]]` `name`: of the listed tables only these are read. The only way \
         to have outbox tables read.",
    ),
    key(
        "parallelism",
        "integer",
        Toml("4"),
        "Sessions that read side by side, 1 to 32; one more keeps the snapshot.",
    ),
    key(
        "max_rows_per_second",
        "integer",
        Words("no limit"),
        "Of all sessions together; 1 to 100000000.",
    ),
];

pub(super) const ADMIN: &[Key] = &[key(
    "socket",
    "string",
    Words(
        "`walferry-<name>.sock` in `$XDG_RUNTIME_DIR`, else in the directory for temporary files",
    ),
    "Path of the Unix socket at which a running instance takes the requests of `walferry snapshot`, \
     from its own user and root; `\"off\"`: none.",
)];

pub(super) const HTTP: &[Key] = &[key(
    "listen",
    "string",
    Toml("\"0.0.0.0:8080\""),
    "Address and port of `/metrics`, `/healthz`, `/readyz` and `/status`; `\"off\"`: none.",
)];

pub(super) const MESSAGES: &[Key] = &[
    key(
        "enabled",
        "boolean",
        Toml("false"),
        "Write logical messages (`pg_logical_emit_message`) to `<name>.message`, as Debezium does.",
    ),
    key(
        "prefixes",
        "list of strings",
        Toml("[\"*\"]"),
        "The prefixes to take; `*` stands for any run of characters and `?` for one.",
    ),
];

pub(super) const TABLE: &[Key] = &[
    key(
        "name",
        "string",
        Required,
        "`schema.table`, spelt as in the catalog (case matters); a part with a dot in it goes in \
         double quotes. `*` stands for any run of characters and `?` for one.",
    ),
    key(
        "topic",
        "string",
        Words("`<name>.<schema>.<table>`"),
        "The topic, for a name without wildcards. In the default, `_` stands for each character \
         that a topic cannot have.",
    ),
    key(
        "key_columns",
        "list of strings",
        Words("the primary key"),
        "The columns of the record key, for a name without wildcards.",
    ),
    key("exclude_columns", "list of strings", Toml("[]"), "Columns that never leave the database."),
    key(
        "inserts_only",
        "boolean",
        Toml("false"),
        "Deliver inserts only: for tables without a replica identity.",
    ),
    key("topics", "table", Absent, "This table's own values of `[topics]`: see `[table.topics]`."),
    key("create", "boolean", Words("`[topics]`"), "As in `[table.topics]`."),
    key("partitions", "integer", Words("`[topics]`"), "As in `[table.topics]`."),
    key("replication_factor", "integer", Words("`[topics]`"), "As in `[table.topics]`."),
    key("config", "table", Words("`[topics]`"), "As in `[table.topics]`."),
    later("mask", "name the columns in `exclude_columns`"),
    later(
        "where",
        "leave it out, or give the publication a row filter of your own with `publication_manage = \"never\"`",
    ),
    fixed(
        "toast",
        &["\"placeholder\""],
        &["omit", "fetch"],
        "`toast = \"placeholder\"`",
        "What stands for a large value that Postgres did not send.",
    ),
    key(
        "snapshot_where",
        "string",
        Absent,
        "SQL condition of the rows that a snapshot reads; the stream sends all changes all the \
         same. Part of a statement: whoever may write it reads what walferry's role may read.",
    ),
];

pub(super) const OUTBOX: &[Key] = &[
    key("table", "string", Required, "`schema.table`, without wildcards."),
    key("columns", "table", Absent, "Which column is what: see `[outbox.columns]`."),
    key(
        "timestamp",
        "string",
        Words("the commit's time"),
        "The column that gives the record's timestamp.",
    ),
    key("headers", "table", Absent, "Further headers: `header = \"column\"`."),
    key(
        "envelope",
        "table",
        Absent,
        "`field = \"column\"`: makes the value a record of the payload and these fields.",
    ),
    key("partition", "string", Absent, "An integer column that chooses the partition."),
    key("topic", "table", Absent, "How the topic is made: see `[outbox.topic]`."),
    fixed(
        "payload",
        &["\"as-is\""],
        &["expand", "avro"],
        "`payload = \"as-is\"`: JSON as a string, bytea untouched",
        "What becomes of the payload.",
    ),
    key(
        "tombstone_on_empty_payload",
        "boolean",
        Toml("false"),
        "Write a tombstone where the payload is NULL or empty.",
    ),
    key(
        "topics",
        "table",
        Absent,
        "These topics' own values of `[topics]`: see `[outbox.topics]`.",
    ),
    later("message_prefix", "`table` with an outbox table"),
];

pub(super) const OUTBOX_COLUMNS: &[Key] = &[
    key("id", "string", Toml("\"id\""), "The event's id, written as the header `id`."),
    key("key", "string", Toml("\"aggregateid\""), "The record key."),
    key("payload", "string", Toml("\"payload\""), "The record value."),
    key("route", "string", Toml("\"aggregatetype\""), "What the topic is made from."),
];

pub(super) const OUTBOX_TOPIC: &[Key] = &[
    key(
        "regex",
        "string",
        Toml("\"(?<routedByValue>.*)\""),
        "Matched against the whole value of the route column. `${…}` is not looked up in here.",
    ),
    key(
        "replacement",
        "string",
        Toml("\"outbox.event.${routedByValue}\""),
        "The topic; `${group}` and `$1` stand for groups of the regex, never for variables.",
    ),
];
