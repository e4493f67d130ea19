//! Schema text, attribute for attribute as the Confluent converter registers it for Debezium.
