//! `walferry tail TOPIC…`: records as they arrive, decoded through the registry.
//!
//! Reads all partitions with explicit offsets, joins no group, and sees committed records only.
//! Records of one partition come in order; between partitions there is none.

mod content;
mod line;

use std::collections::HashSet;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::args::{GlobalArgs, TailArgs};
use super::{Exit, block_on, load_settings};
use crate::config::settings::{KafkaSettings, Settings};
use crate::failure::Failure;
use crate::kafka::Admin;
use crate::kafka::consumer::{self, StreamReader};
use crate::kafka::topics::close;
use crate::registry::Registry;
use content::Contents;
use line::Record;

/// What to print, and for how long.
#[derive(Debug, Clone)]
pub struct TailOptions {
    /// Every line names its topic when there are several.
    pub topics: Vec<String>,
    /// Otherwise only what arrives from now on.
    pub from_beginning: bool,
    /// One JSON object a record instead of one line for people.
    pub json: bool,
    /// Stop after this many records.
    pub limit: Option<u64>,
    /// Wait for more at the end; otherwise stop when all partitions were read to it.
    pub follow: bool,
    /// Colour the lines for people: see [`colour_wanted`].
    pub colour: bool,
}

/// Whether standard output is a terminal that takes colours, and `NO_COLOR` does not forbid them.
#[must_use]
pub fn colour_wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

/// `walferry tail`: until the limit, Ctrl-C, or until nobody reads any more.
pub(super) fn run(global: &GlobalArgs, args: &TailArgs) -> Result<Exit, Failure> {
    let settings = load_settings(global)?;
    let options = TailOptions {
        topics: args.topics.clone(),
        from_beginning: args.from_beginning,
        json: args.json,
        limit: args.max_records,
        follow: true,
        colour: !args.json && colour_wanted(),
    };
    let mut out = io::stdout();
    block_on(async {
        tokio::select! {
            ended = tail(&settings, &options, &mut out) => ended?,
            // Without a handler the signal itself ends the process.
            Ok(()) = tokio::signal::ctrl_c() => {}
        }
        Ok(Exit::Done)
    })
}

/// Prints the records of topics until the limit, the end, or until it is dropped.
///
/// A reader that goes away (`… | head`) ends it without an error.
///
/// # Errors
///
/// When a topic does not exist or may not be read, when brokers or the registry are lost, or when
/// `out` cannot be written to.
pub async fn tail(
    settings: &Settings,
    options: &TailOptions,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let registry = Registry::new(&settings.registry)?;
    print(&settings.name, &settings.kafka, registry, options, out).await
}

/// [`tail`] with only the parts of the settings that it needs.
///
/// # Errors
///
/// As [`tail`].
pub async fn print(
    name: &str,
    kafka: &KafkaSettings,
    registry: Registry,
    options: &TailOptions,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut topics = Vec::with_capacity(options.topics.len());
    for topic in &options.topics {
        topics.push((topic.as_str(), partitions(name, kafka, topic).await?));
    }
    let reader = consumer::stream_reader(name, kafka)?;
    let mut printer = Printer { options, contents: Contents::new(registry), printed: 0, out };
    let result = if options.follow {
        printer.read(&reader, kafka, &topics).await
    } else {
        // One after the other: what tells that a partition has ended does not say of which topic.
        let mut result = Ok(());
        for topic in topics.chunks(1) {
            result = printer.read(&reader, kafka, topic).await;
            if result.is_err() || printer.done() {
                break;
            }
        }
        result
    };
    close(reader);
    match result {
        Ok(()) => Ok(()),
        Err(Stop::ReaderGone) => Ok(()),
        Err(Stop::Failure(failure)) => Err(failure),
    }
}

/// A topic and the number of its partitions.
type Topic<'a> = (&'a str, i32);

/// Why printing ends early.
enum Stop {
    /// Whoever read the output has gone.
    ReaderGone,
    Failure(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failure(failure)
    }
}

struct Printer<'a, W> {
    options: &'a TailOptions,
    contents: Contents,
    printed: u64,
    out: &'a mut W,
}

impl<W: Write> Printer<'_, W> {
    fn done(&self) -> bool {
        self.options.limit.is_some_and(|limit| self.printed >= limit)
    }

    /// Reads the topics to the limit or, when not following, to the end of all partitions.
    async fn read(
        &mut self,
        reader: &StreamReader,
        kafka: &KafkaSettings,
        topics: &[Topic<'_>],
    ) -> Result<(), Stop> {
        assign(reader, topics, self.options.from_beginning)?;
        let partitions: usize = topics.iter().map(|(_, count)| *count as usize).sum();
        let mut ended = HashSet::new();
        while !self.done() {
            match reader.recv().await {
                Ok(message) => self.message(&message).await?,
                Err(KafkaError::PartitionEOF(partition)) => {
                    ended.insert(partition);
                    if !self.options.follow && ended.len() >= partitions {
                        break;
                    }
                }
                Err(error) => tolerate(&error, kafka, reader)?,
            }
        }
        Ok(())
    }

    async fn message(&mut self, message: &BorrowedMessage<'_>) -> Result<(), Stop> {
        let record = decode(message, &mut self.contents).await?;
        match write(&record, self.options, self.out) {
            Ok(()) => self.printed += 1,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(Stop::ReaderGone);
            }
            Err(error) => {
                let failure = Failure::stop("output", "the output cannot be written");
                return Err(failure.source(error).into());
            }
        }
        Ok(())
    }
}

async fn partitions(name: &str, kafka: &KafkaSettings, topic: &str) -> Result<i32, Failure> {
    let admin = Admin::new(name, kafka, CONNECT_TIMEOUT)?;
    admin.partitions(topic).await?.ok_or_else(|| {
        Failure::stop("kafka", format!("there is no topic {topic}"))
            .remedy("topics are named <name>.<schema>.<table>, and outbox.event.<type>")
    })
}

fn assign(
    reader: &StreamReader,
    topics: &[Topic<'_>],
    from_beginning: bool,
) -> Result<(), Failure> {
    let start = if from_beginning { Offset::Beginning } else { Offset::End };
    let mut assignment = TopicPartitionList::new();
    topics
        .iter()
        .flat_map(|(topic, partitions)| (0..*partitions).map(move |partition| (topic, partition)))
        .try_for_each(|(topic, partition)| assignment.add_partition_offset(topic, partition, start))
        .and_then(|()| reader.assign(&assignment))
        .map_err(|error| Failure::retry("kafka", "the partitions cannot be read").source(error))
}

/// librdkafka recovers from most errors by itself; waiting in silence for lost brokers would look
/// like an idle topic.
fn tolerate(
    error: &KafkaError,
    kafka: &KafkaSettings,
    reader: &StreamReader,
) -> Result<(), Failure> {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AllBrokersDown) => {
            let servers = &kafka.bootstrap_servers;
            let reason = reader.context().reason().unwrap_or_default();
            Err(Failure::retry(
                "kafka",
                format!("no answer from kafka.bootstrap_servers ({servers}): {reason}"),
            ))
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            Err(Failure::stop("kafka", "a topic may not be read")
                .remedy("grant the operation Read on the topic"))
        }
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            Err(Failure::stop("kafka", "a topic was deleted"))
        }
        _ => Ok(()),
    }
}

async fn decode(message: &BorrowedMessage<'_>, contents: &mut Contents) -> Result<Record, Failure> {
    let mut headers = Vec::new();
    for header in message.headers().iter().flat_map(|headers| headers.iter()) {
        let value = contents.optional(header.value).await?;
        headers.push((header.key.to_owned(), value));
    }
    Ok(Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: contents.optional(message.key()).await?,
        value: contents.optional(message.payload()).await?,
        headers,
    })
}

fn write(record: &Record, options: &TailOptions, out: &mut impl Write) -> io::Result<()> {
    let mut text = if options.json {
        record.json()?
    } else {
        record.line(options.colour, options.topics.len() > 1)?
    };
    text.push('\n');
    out.write_all(text.as_bytes())?;
    // Who watches wants to see a record when it arrives.
    out.flush()
}

/// A command at a terminal should say soon that it gets no answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
