//! The settings as resolved: defaults filled in, secrets read, combinations checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// Everything one deployment needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Topic prefix, source name, transactional id: `[a-zA-Z0-9._-]+`, 1 to 64 characters.
    pub name: String,
    pub postgres: PostgresSettings,
    pub kafka: KafkaSettings,
    pub registry: RegistrySettings,
    pub topics: TopicSettings,
    pub format: FormatSettings,
    pub snapshot: SnapshotSettings,
    pub http: HttpSettings,
    pub admin: AdminSocket,
    pub messages: MessageSettings,
    /// How long a stop may drain before it gives up.
    pub shutdown_timeout: Duration,
    pub tables: Vec<TableRule>,
    pub outboxes: Vec<OutboxRule>,
}

#[derive(Debug, Clone)]
pub struct PostgresSettings {
    pub target: PostgresTarget,
    pub slot: String,
    pub slot_manage: Manage,
    pub publication: String,
    pub publication_manage: Manage,
    pub publish_via_partition_root: bool,
    pub connect_timeout: Duration,
    /// How long nothing may be acknowledged, while something is in flight, before replication is left.
    pub stall_disconnect: Duration,
    /// How long a reader that is behind waits after a short read (`read_nap`); zero turns it off.
    pub read_nap: Duration,
    /// The largest message taken from the server; a larger one stops the stream with an error.
    pub max_message_bytes: usize,
}

/// Who creates and changes a slot or publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manage {
    Auto,
    Never,
}

/// The connection URL, taken apart.
#[derive(Debug, Clone)]
pub struct PostgresTarget {
    /// Tried in turn; never empty.
    pub hosts: Vec<PostgresHost>,
    pub user: String,
    pub password: Option<SecretString>,
    pub database: String,
    pub target_session_attrs: TargetSessionAttrs,
    pub tls: PostgresTls,
    pub channel_binding: ChannelBinding,
    pub keepalives: bool,
    pub keepalives_idle: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostgresHost {
    Tcp {
        host: String,
        port: u16,
    },
    /// The directory of the socket; the file is `.s.PGSQL.<port>`.
    Unix {
        directory: PathBuf,
        port: u16,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetSessionAttrs {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

#[derive(Debug, Clone)]
pub struct PostgresTls {
    pub mode: SslMode,
    pub root: SslRoot,
    /// Certificate chain and key, both PEM.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// libpq's six modes, with its meaning of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SslRoot {
    /// No `sslrootcert`: verifying modes are a configuration error (use `system`).
    Unset,
    System,
    File(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

#[derive(Debug, Clone)]
pub struct KafkaSettings {
    pub bootstrap_servers: String,
    pub delivery: Delivery,
    /// Bounds of what is produced and not acknowledged.
    pub max_in_flight_records: usize,
    pub max_in_flight_bytes: usize,
    /// The largest record a topic takes; judged before it is enqueued.
    pub max_record_bytes: usize,
    /// librdkafka properties that walferry does not own. May hold secrets: never printed.
    pub properties: BTreeMap<String, SecretString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    AtLeastOnce,
}

#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// Tried in turn; never empty; without a trailing slash.
    pub urls: Vec<String>,
    pub auth: RegistryAuth,
    pub auto_register: bool,
    /// A PEM file that replaces the system's roots.
    pub ca_file: Option<PathBuf>,
    pub timeout: Duration,
}

#[derive(Debug, Clone)]
pub enum RegistryAuth {
    None,
    Basic { user: String, password: SecretString },
    Bearer(SecretString),
}

/// How topics are created; per-table values come on top.
#[derive(Debug, Clone)]
pub struct TopicSettings {
    pub create: bool,
    /// `None`: the broker's default.
    pub partitions: Option<i32>,
    pub replication_factor: Option<i32>,
    pub config: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub struct FormatSettings {
    pub name_adjustment: NameAdjustment,
    /// Truncate events as records.
    pub truncate: bool,
    pub skip: Vec<Operation>,
    pub tombstones: bool,
    /// The text in place of an unchanged TOAST value.
    pub unavailable_value: String,
    pub before_delete: BeforeDelete,
    /// Schemas state the columns' defaults.
    pub column_defaults: bool,
    /// Debezium's `__debezium.context.*` headers on each record.
    pub context_headers: bool,
}

/// What an empty `[format]` means: Debezium's own defaults.
impl Default for FormatSettings {
    fn default() -> FormatSettings {
        FormatSettings {
            name_adjustment: NameAdjustment::None,
            truncate: false,
            skip: Vec::new(),
            tombstones: true,
            unavailable_value: "__debezium_unavailable_value".to_owned(),
            before_delete: BeforeDelete::Key,
            column_defaults: true,
            context_headers: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameAdjustment {
    None,
    Avro,
    AvroUnicode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Truncate,
}

/// What a delete's `before` holds under replica identity default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeforeDelete {
    /// The key columns, NULL or Debezium's placeholder for the others, marked by a header.
    Key,
    /// `before` is null.
    Null,
}

/// The rows that are there already (`[snapshot]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSettings {
    pub mode: SnapshotMode,
    /// Which of the listed tables; `None`: all that are no outboxes.
    pub tables: Option<Vec<TablePattern>>,
    /// Sessions that read side by side, at least one.
    pub parallelism: usize,
    pub max_rows_per_second: Option<u64>,
    pub engine: Engine,
    /// Larger tables are read in chunks, if the engine may be chosen.
    pub frozen_max_bytes: u64,
}

/// How tables are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Auto,
    /// At one exported snapshot; the stream is held meanwhile.
    Frozen,
    /// In chunks, while the stream goes on.
    Windows,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotMode {
    /// Before the stream, and of tables that are listed later.
    Initial,
    Never,
}

#[derive(Debug, Clone)]
pub struct HttpSettings {
    pub listen: Option<SocketAddr>,
}

/// Where a running instance takes requests (`[admin]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminSocket {
    /// In `$XDG_RUNTIME_DIR`, or in the directory for temporary files.
    Default,
    Path(PathBuf),
    Off,
}

/// Logical messages as records (`[messages]`).
#[derive(Debug, Clone)]
pub struct MessageSettings {
    pub enabled: bool,
    pub prefixes: Vec<String>,
}

/// One `[[table]]`.
#[derive(Debug, Clone)]
pub struct TableRule {
    pub pattern: TablePattern,
    /// Only for a pattern without wildcards.
    pub topic: Option<String>,
    pub key_columns: Option<Vec<String>>,
    pub exclude_columns: Vec<String>,
    pub inserts_only: bool,
    /// SQL: the rows that a snapshot reads.
    pub snapshot_where: Option<String>,
    pub topics: TopicSettings,
}

/// `schema.table`, where `*` stands for any run of characters and `?` for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePattern {
    pub schema: String,
    pub table: String,
}

/// One `[[outbox]]`.
#[derive(Debug, Clone)]
pub struct OutboxRule {
    pub table: TablePattern,
    pub id: String,
    pub key: String,
    pub payload: String,
    pub route: String,
    /// Column that gives the record's timestamp; `None`: the commit time.
    pub timestamp: Option<String>,
    /// Header name and column.
    pub headers: Vec<(String, String)>,
    /// Envelope field and column; not empty turns the value into a record.
    pub envelope: Vec<(String, String)>,
    /// Integer column that chooses the partition.
    pub partition: Option<String>,
    /// Applied to the route column's value; `${routedByValue}` stands for it.
    pub topic_regex: String,
    pub topic_replacement: String,
    pub tombstone_on_empty_payload: bool,
    pub topics: TopicSettings,
}
