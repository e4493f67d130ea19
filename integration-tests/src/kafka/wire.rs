//! Requests of Kafka's protocol that the client library does not offer.

use super::{Kafka, Listener};
use crate::wait;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const API_VERSIONS: i16 = 18;
const DESCRIBE_ACLS: i16 = 29;
const CREATE_ACLS: i16 = 30;
const ALLOW: u8 = 3;
const LITERAL: u8 = 3;
const PREFIXED: u8 = 4;
const ANSWER: Duration = Duration::from_secs(10);

/// What a user may be allowed to work on.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    Topic(&'a str),
    /// All topics whose names begin so.
    TopicPrefix(&'a str),
    Group(&'a str),
    TransactionalId(&'a str),
    /// Concerns every test of a shared broker.
    Cluster,
}

/// What a user may be allowed to do; the numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    All = 2,
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
}

impl Kafka {
    /// Allows `user` one operation, and returns when the broker acts on it.
    pub async fn allow(&self, user: &str, resource: Resource<'_>, operation: Operation) {
        let (kind, pattern, name) = match resource {
            Resource::Topic(name) => (2, LITERAL, name),
            Resource::TopicPrefix(prefix) => (2, PREFIXED, prefix),
            Resource::Group(name) => (3, LITERAL, name),
            Resource::Cluster => (4, LITERAL, "kafka-cluster"),
            Resource::TransactionalId(name) => (5, LITERAL, name),
        };
        let mut rule = vec![kind];
        string(&mut rule, name);
        rule.push(pattern);
        string(&mut rule, &format!("User:{user}"));
        string(&mut rule, "*");
        rule.extend([operation as u8, ALLOW]);
        let body = [&1_i32.to_be_bytes()[..], &rule].concat();
        let answer = self.request(CREATE_ACLS, 1, &body).await.expect("an answer");
        // Throttle time and number of results, then the error code of the only one.
        assert_eq!(answer[8..10], [0, 0], "allowing {user} {operation:?} on {resource:?}");
        // The controller has it; a filter that matches one rule looks like the rule.
        wait::until("the broker to know the rule", wait::LONG, async || {
            let answer = self.request(DESCRIBE_ACLS, 1, &rule).await?;
            // Throttle time, no error, some words about it, then what matches, principals included.
            let principal = format!("User:{user}");
            let known = answer.windows(principal.len()).any(|part| part == principal.as_bytes());
            (answer[4..6] == [0, 0] && known).then_some(())
        })
        .await;
    }

    /// Does the broker serve requests? Its listener accepts connections before that.
    pub(super) async fn answers(&self) -> Option<()> {
        let answer = self.request(API_VERSIONS, 0, &[]).await?;
        answer.starts_with(&[0, 0]).then_some(())
    }

    /// Sends one request; the answer's body, or `None` if none comes.
    async fn request(&self, api: i16, version: i16, body: &[u8]) -> Option<Vec<u8>> {
        const CORRELATION: [u8; 4] = [0, 0, 0, 1];
        let mut message = api.to_be_bytes().to_vec();
        message.extend(version.to_be_bytes());
        message.extend(CORRELATION);
        string(&mut message, "harness");
        message.extend(body);
        let length = u32::try_from(message.len()).expect("a short request");
        let exchange = async {
            let mut stream =
                TcpStream::connect(("127.0.0.1", self.port(Listener::Plaintext))).await.ok()?;
            stream.write_all(&length.to_be_bytes()).await.ok()?;
            stream.write_all(&message).await.ok()?;
            let length = stream.read_u32().await.ok()?;
            let mut answer = vec![0; usize::try_from(length).ok()?];
            stream.read_exact(&mut answer).await.ok()?;
            Some(answer.split_off(CORRELATION.len()))
        };
        tokio::time::timeout(ANSWER, exchange).await.ok()?
    }
}

fn string(message: &mut Vec<u8>, text: &str) {
    let length = i16::try_from(text.len()).expect("a short text");
    message.extend(length.to_be_bytes());
    message.extend(text.as_bytes());
}
