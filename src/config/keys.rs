//! Every key there is, in one table: the reader refuses what is not here, and the reference in
//! `docs/configuration.md` is made from it.
//!
//! Names are a contract. A name that is fixed but whose feature is missing is here too, as
//! [`Status::Later`], so that writing it gives an explanation instead of "unknown key"; its value
//! is accepted where it asks for what happens today anyway.

mod all;

/// A table of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Top,
    Postgres,
    Kafka,
    Registry,
    Topics,
    Format,
    Snapshot,
    Http,
    Admin,
    Messages,
    Table,
    TableTopics,
    Outbox,
    OutboxColumns,
    OutboxTopic,
    OutboxTopics,
}

/// One key of a section.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// What kind of value it takes, in words.
    pub(super) kind: &'static str,
    pub(super) default: DefaultValue,
    pub(super) meaning: &'static str,
    /// Its value must never be shown.
    pub(super) secret: bool,
    pub(super) status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DefaultValue {
    Required,
    /// Absent means absent.
    Absent,
    /// The value as TOML.
    Toml(&'static str),
    /// Derived, in words.
    Words(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Available,
    Later {
        /// Values, as TOML, that ask for what happens today anyway.
        today: &'static [&'static str],
        /// Strings that it will take.
        later: &'static [&'static str],
        /// What to write until then.
        instead: &'static str,
    },
}

impl Section {
    /// How it is written, for messages and the reference.
    pub(super) fn header(self) -> &'static str {
        match self {
            Section::Top => "",
            Section::Postgres => "[postgres]",
            Section::Kafka => "[kafka]",
            Section::Registry => "[registry]",
            Section::Topics => "[topics]",
            Section::Format => "[format]",
            Section::Snapshot => "[snapshot]",
            Section::Http => "[http]",
            Section::Admin => "[admin]",
            Section::Messages => "[messages]",
            Section::Table => "[[table]]",
            Section::TableTopics => "[table.topics]",
            Section::Outbox => "[[outbox]]",
            Section::OutboxColumns => "[outbox.columns]",
            Section::OutboxTopic => "[outbox.topic]",
            Section::OutboxTopics => "[outbox.topics]",
        }
    }

    pub(super) fn keys(self) -> &'static [Key] {
        match self {
            Section::Top => all::TOP,
            Section::Postgres => all::POSTGRES,
            Section::Kafka => all::KAFKA,
            Section::Registry => all::REGISTRY,
            Section::Topics | Section::TableTopics | Section::OutboxTopics => all::TOPICS,
            Section::Format => all::FORMAT,
            Section::Snapshot => all::SNAPSHOT,
            Section::Http => all::HTTP,
            Section::Admin => all::ADMIN,
            Section::Messages => all::MESSAGES,
            Section::Table => all::TABLE,
            Section::Outbox => all::OUTBOX,
            Section::OutboxColumns => all::OUTBOX_COLUMNS,
            Section::OutboxTopic => all::OUTBOX_TOPIC,
        }
    }

    pub(super) fn key(self, name: &str) -> Option<&'static Key> {
        self.keys().iter().find(|key| key.name == name)
    }
}

impl Key {
    /// Whether it can be written today, with some value at least.
    pub(super) fn is_usable(&self) -> bool {
        match self.status {
            Status::Available => true,
            Status::Later { today, .. } => !today.is_empty(),
        }
    }
}

/// All sections, in the order of the reference.
pub(super) const SECTIONS: &[Section] = &[
    Section::Top,
    Section::Postgres,
    Section::Kafka,
    Section::Registry,
    Section::Topics,
    Section::Format,
    Section::Snapshot,
    Section::Http,
    Section::Admin,
    Section::Messages,
    Section::Table,
    Section::TableTopics,
    Section::Outbox,
    Section::OutboxColumns,
    Section::OutboxTopic,
    Section::OutboxTopics,
];
