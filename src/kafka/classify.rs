//! What an error code of a broker or of librdkafka means for the stream.

use rdkafka::types::RDKafkaErrorCode;

/// An error code, librdkafka's own or a broker's.
pub type ErrorCode = RDKafkaErrorCode;

/// What can be done about a record that was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// It may pass by itself: try again, with a new producer once a report has said so.
    Retry,
    /// This one record is refused and always will be; its neighbours are fine.
    RejectRecord,
    /// The whole topic is refused: it is missing, or may not be written to.
    Table,
    /// The producer is of no more use; a new one may be.
    Fatal,
}

/// Classes an error code.
///
/// A code that is not known is [`Retry`](ErrorClass::Retry): who retries stops after a few attempts
/// without progress, and a wrong `RejectRecord` would set a good row aside.
#[must_use]
pub fn classify(code: ErrorCode) -> ErrorClass {
    use RDKafkaErrorCode as Code;
    match code {
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::UnknownPartition => ErrorClass::RejectRecord,

        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::InvalidTopic
        | Code::TopicAuthorizationFailed
        | Code::PolicyViolation => ErrorClass::Table,

        Code::Fatal
        | Code::Fenced
        | Code::ProducerFenced
        | Code::InvalidProducerEpoch
        | Code::InvalidProducerIdMapping
        | Code::UnknownProducerId
        | Code::OutOfOrderSequenceNumber
        | Code::GaplessGuarantee
        | Code::Inconsistent
        | Code::State
        | Code::InvalidRequiredAcks
        | Code::InvalidTransactionTimeout
        | Code::InvalidTransactionalState
        | Code::TransactionCoordinatorFenced
        | Code::TransactionalIdAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedCompressionType => ErrorClass::Fatal,

        _ => ErrorClass::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_class_that_the_recovery_relies_on() {
        use RDKafkaErrorCode as Code;
        let cases = [
            (Code::QueueFull, ErrorClass::Retry),
            (Code::MessageTimedOut, ErrorClass::Retry),
            (Code::BrokerTransportFailure, ErrorClass::Retry),
            (Code::AllBrokersDown, ErrorClass::Retry),
            (Code::NotLeaderForPartition, ErrorClass::Retry),
            (Code::NotEnoughReplicas, ErrorClass::Retry),
            (Code::NotEnoughReplicasAfterAppend, ErrorClass::Retry),
            (Code::KafkaStorageError, ErrorClass::Retry),
            (Code::ThrottlingQuotaExceeded, ErrorClass::Retry),
            (Code::Authentication, ErrorClass::Retry),
            (Code::Unknown, ErrorClass::Retry),
            (Code::MessageSizeTooLarge, ErrorClass::RejectRecord),
            (Code::InvalidRecord, ErrorClass::RejectRecord),
            (Code::InvalidTimestamp, ErrorClass::RejectRecord),
            (Code::UnknownPartition, ErrorClass::RejectRecord),
            (Code::UnknownTopic, ErrorClass::Table),
            (Code::UnknownTopicOrPartition, ErrorClass::Table),
            (Code::TopicAuthorizationFailed, ErrorClass::Table),
            (Code::Fatal, ErrorClass::Fatal),
            (Code::Fenced, ErrorClass::Fatal),
            (Code::InvalidProducerEpoch, ErrorClass::Fatal),
            (Code::OutOfOrderSequenceNumber, ErrorClass::Fatal),
            (Code::ClusterAuthorizationFailed, ErrorClass::Fatal),
        ];
        for (code, class) in cases {
            assert_eq!(classify(code), class, "{code:?}");
        }
    }
}
