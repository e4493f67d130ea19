//! The arguments, and the help that teaches them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::postgres::Lsn;
use crate::telemetry::logging::{DEFAULT_LEVEL, LogFormat};

const ABOUT: &str = "Follow a Postgres replication slot and deliver the changes to Kafka in Avro.";

const MAIN_HELP: &str = "\
Examples:
  walferry check                        look for everything that could be wrong, with remedies
  walferry run                          deliver changes until told to stop
  walferry tail shop.public.orders      print what arrives in a topic, decoded

  Configuration is read from walferry.toml in the working directory; name another file with
  --config FILE or WALFERRY_CONFIG.

Exit codes:
  0  done
  1  failed and worth restarting
  2  wrong usage or configuration, or an operator has to decide: the remedy is printed";

/// Postgres to Kafka in Avro.
#[derive(Debug, Parser)]
#[command(
    name = "walferry",
    version,
    about = ABOUT,
    after_help = MAIN_HELP,
    propagate_version = false,
    max_term_width = 100
)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Valid before and after the name of the command.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// Configuration file
    #[arg(
        long,
        short,
        global = true,
        value_name = "FILE",
        env = "WALFERRY_CONFIG",
        hide_env_values = true,
        default_value = "walferry.toml"
    )]
    pub config: PathBuf,
    /// How log lines look
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        env = "WALFERRY_LOG_FORMAT",
        hide_env_values = true,
        default_value_t
    )]
    pub log_format: LogFormat,
    /// error, warn, info, debug or trace; or a list such as walferry=debug,librdkafka=info
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        env = "WALFERRY_LOG",
        hide_env_values = true,
        default_value = DEFAULT_LEVEL
    )]
    pub log_level: String,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Deliver changes until told to stop
    Run(RunArgs),
    /// Look for everything that could be wrong, and say how to put it right
    Check(CheckArgs),
    /// Print the Avro schemas that tables get
    Schema(SchemaArgs),
    /// Look at the replication slot, create, adopt or drop it
    Slot(SlotArgs),
    /// Look at the durable position, or set it
    Position(PositionArgs),
    /// Ask the running instance to deliver the rows of tables
    Snapshot(SnapshotArgs),
    /// Print the records of topics, decoded
    Tail(TailArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

impl Command {
    /// As it is typed.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Command::Run(_) => "run",
            Command::Check(_) => "check",
            Command::Schema(_) => "schema",
            Command::Slot(_) => "slot",
            Command::Position(_) => "position",
            Command::Snapshot(_) => "snapshot",
            Command::Tail(_) => "tail",
            Command::Completions(_) => "completions",
        }
    }
}

const RUN_HELP: &str = "\
Examples:
  walferry run
  walferry run --config /etc/walferry/shop.toml --log-format json
  WALFERRY_LOG=debug walferry run

The first start creates the publication, the slot and the topics. SIGTERM or Ctrl-C stops cleanly:
what is in flight is delivered and confirmed. A second one stops at once; what was in flight is
then delivered again by the next start.

Exit codes:
  0  stopped as told
  1  failed and worth restarting
  2  wrong configuration, or an operator has to decide: do not restart, read the last lines";

#[derive(Debug, Clone, Args)]
#[command(after_help = RUN_HELP)]
pub struct RunArgs {}

const CHECK_HELP: &str = "\
Examples:
  walferry check
  walferry check --json | jq '.[] | select(.severity == \"error\")'

Nothing is changed. Each finding comes with its remedy, as SQL or as configuration.

Exit codes:
  0  nothing wrong (warnings may remain)
  1  something could not be reached
  2  something is wrong";

#[derive(Debug, Clone, Args)]
#[command(after_help = CHECK_HELP)]
pub struct CheckArgs {
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

const SCHEMA_HELP: &str = "\
Examples:
  walferry schema                        every table of the configuration
  walferry schema public.orders          key and value of one table
  walferry schema public.orders --value  the value's schema alone, as it is registered

Nothing is registered.";

#[derive(Debug, Clone, Args)]
#[command(after_help = SCHEMA_HELP)]
pub struct SchemaArgs {
    /// Tables as schema.table; all of the configuration without one
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
    /// Only the keys' schemas
    #[arg(long, conflicts_with = "value")]
    pub key: bool,
    /// Only the values' schemas
    #[arg(long)]
    pub value: bool,
}

const SLOT_HELP: &str = "\
Examples:
  walferry slot status     the slot, the position, and whether they fit
  walferry slot create     create publication and slot now; the first run would do it too
  walferry slot adopt      take over a slot that exists without a position
  walferry slot drop --yes give the slot up, so that Postgres need not keep its log";

#[derive(Debug, Clone, Args)]
#[command(after_help = SLOT_HELP)]
pub struct SlotArgs {
    #[command(subcommand)]
    pub command: SlotCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum SlotCommand {
    /// Show the slot, what it retains, and whether it fits the position
    #[command(after_help = STATUS_HELP)]
    Status(SlotStatusArgs),
    /// Create the publications and the slot, and begin at it
    #[command(after_help = CREATE_HELP)]
    Create,
    /// Begin at the confirmed position of a slot that exists without a position of ours
    #[command(after_help = ADOPT_HELP)]
    Adopt,
    /// Drop the slot, and give the position up
    #[command(after_help = DROP_HELP)]
    Drop(SlotDropArgs),
}

const STATUS_HELP: &str = "\
Examples:
  walferry slot status
  walferry slot status --json | jq .decision

Also says what the next start would do, and exits with 2 if it would refuse.";

const CREATE_HELP: &str = "\
The first run does this by itself. It is needed where postgres.slot_manage is \"never\", and after a
slot was lost: the position, also an older one, becomes the new slot's beginning, and what was
committed in between is not delivered. It says from where to where.";

const ADOPT_HELP: &str = "\
Writes a position that says: everything the slot has confirmed was delivered. Use it for a slot
that an operator or another connector created, once that connector is stopped. What it confirmed
and did not deliver is not delivered by walferry either.";

const DROP_HELP: &str = "\
Everything that was not delivered is given up: the next start is a first start. Nothing happens
without --yes, and a slot in use is not dropped.";

#[derive(Debug, Clone, Args)]
pub struct SlotStatusArgs {
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct SlotDropArgs {
    /// Do it; without, only say what would be lost (exit code 2)
    #[arg(long)]
    pub yes: bool,
}

const POSITION_HELP: &str = "\
Examples:
  walferry position show
  walferry position set 16/B374D848 --yes

The position is a record in the topic __walferry.NAME.position.";

#[derive(Debug, Clone, Args)]
#[command(after_help = POSITION_HELP)]
pub struct PositionArgs {
    #[command(subcommand)]
    pub command: PositionCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum PositionCommand {
    /// Show up to where everything was delivered
    Show(PositionShowArgs),
    /// Accept a gap or a repetition on purpose: say up to where everything was delivered
    #[command(after_help = SET_HELP)]
    Set(PositionSetArgs),
}

const SET_HELP: &str = "\
Stop `walferry run` first. Transactions that commit before LSN are taken as delivered and never
sent; later ones are sent, again if need be. Postgres still has only what the slot retains: see
`walferry slot status`.";

#[derive(Debug, Clone, Args)]
pub struct PositionShowArgs {
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct PositionSetArgs {
    /// As Postgres prints it, such as 16/B374D848
    #[arg(value_name = "LSN")]
    pub lsn: Lsn,
    /// Do it; without, only say what would change (exit code 2)
    #[arg(long)]
    pub yes: bool,
}

const TAIL_HELP: &str = "\
Examples:
  walferry tail shop.public.orders                          from now on, until Ctrl-C
  walferry tail shop.public.orders --from-beginning         everything there is, then go on
  walferry tail shop.public.orders --from-beginning -n 10   the first ten
  walferry tail shop.public.orders --json | jq .value.after

Brokers and registry are those of the configuration.";

#[derive(Debug, Clone, Args)]
#[command(after_help = TAIL_HELP)]
pub struct TailArgs {
    /// Topics
    #[arg(value_name = "TOPIC", required = true)]
    pub topics: Vec<String>,
    /// Start with the oldest record instead of the next one
    #[arg(long)]
    pub from_beginning: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// End after so many records
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_records: Option<u64>,
}

const COMPLETIONS_HELP: &str = "\
Examples:
  walferry completions bash > ~/.local/share/bash-completion/completions/walferry
  walferry completions zsh > ~/.zfunc/_walferry
  walferry completions fish > ~/.config/fish/completions/walferry.fish";

#[derive(Debug, Clone, Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub struct CompletionsArgs {
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

const SNAPSHOT_HELP: &str = "\
Examples:
  walferry snapshot public.orders
  walferry snapshot public.orders --where \"placed_at > now() - interval '30 days'\"
  walferry snapshot public.log --engine frozen --no-wait
  walferry snapshot --status
  walferry snapshot --stop public.orders

Asks the instance that runs with this configuration on this machine, over its admin socket. The rows
go out as records with op = r, in between the changes; none is older than what was delivered of its
key before. What was accepted is durable: the next start goes on with it.";

#[derive(Debug, Clone, Args)]
#[command(after_help = SNAPSHOT_HELP)]
#[command(group = clap::ArgGroup::new("what").args(["status", "pause", "resume", "stop"]))]
pub struct SnapshotArgs {
    /// Listed tables, schema.name as in the topic
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
    /// Only the rows that this SQL condition holds for
    #[arg(long = "where", value_name = "SQL")]
    pub condition: Option<String>,
    /// In chunks while the stream goes on, or at one snapshot while it is held
    #[arg(long, value_enum, default_value_t)]
    pub engine: SnapshotEngine,
    /// Do not wait until the rows are delivered
    #[arg(long)]
    pub no_wait: bool,
    /// Show what is being read
    #[arg(long)]
    pub status: bool,
    /// Read no further chunk, and begin no table
    #[arg(long)]
    pub pause: bool,
    /// Go on
    #[arg(long)]
    pub resume: bool,
    /// Give the reading of the tables up, or of all
    #[arg(long)]
    pub stop: bool,
}

/// How tables are read on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum SnapshotEngine {
    #[default]
    Windows,
    Frozen,
}
