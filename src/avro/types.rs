//! Which Connect type a Postgres type becomes.
//!
//! [`resolve`] follows domains down to their base, keeping the innermost typmod that is set, and
//! recognises extension types by name. Types that Debezium drops (geometric ones but `point`,
//! `pg_lsn`, multiranges, composites, arrays that it cannot map, …) become [`ColumnType::Text`]:
//! every column arrives, in the worst case in Postgres's text form.

use std::collections::HashMap;
use std::fmt;

use crate::postgres::Oid;
use crate::postgres::catalog::{TypeFacts, TypeKind, Types};

/// The resolved type of a column: everything that its schema and its encoder need.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnType {
    Boolean,
    /// `bit(1)` and `varbit(1)`, which Connect shows as a boolean.
    BitFlag,
    /// `bit(n)` and `varbit(n)`; an unbounded `varbit` has length `i32::MAX`.
    Bits {
        length: u32,
    },
    Int16,
    Int32,
    Int64,
    /// An unsigned 32-bit number in a long.
    Oid,
    Float32,
    Float64,
    /// `numeric(precision, scale)`. A negative scale of Postgres 15 and later comes as Debezium
    /// shows it: its eleven bits unsigned, 2046 for -2.
    Decimal {
        precision: u32,
        scale: u32,
    },
    /// `numeric` without a typmod: each value has its own scale.
    VariableDecimal,
    /// A decimal of scale 2; the text has a currency sign and group separators.
    Money,
    /// Postgres's text form as a string.
    Text,
    Json,
    Xml,
    Uuid,
    Ltree,
    TextSearchVector,
    Enum {
        /// In sort order.
        labels: Vec<String>,
    },
    Date,
    Time(TimeUnit),
    ZonedTime,
    Timestamp(TimeUnit),
    /// `timestamp with time zone`, as ISO text in UTC.
    ZonedTimestamp {
        /// Digits of the fraction of a second.
        fraction: u8,
    },
    /// In microseconds, a month being a twelfth of 365.25 days.
    Interval,
    Bytes,
    /// A map as JSON text.
    Hstore,
    Point,
    /// A one-dimensional array.
    Array {
        element: Box<ColumnType>,
        /// False where Debezium declares elements that cannot be null (enum, `tsvector`).
        nullable_elements: bool,
    },
    /// `oidvector` and `int2vector`: numbers with blanks between, never null.
    Vector {
        element: Box<ColumnType>,
    },
}

/// In Postgres's terms, for people: `numeric(10,2)`, `timestamptz[]`. What makes no difference to
/// the encoding (the length of a `varchar`, the name of an enum) is not there.
impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ColumnType::Decimal { precision, scale } => {
                return write!(f, "numeric({precision},{scale})");
            }
            ColumnType::Bits { length } => return write!(f, "bit({length})"),
            ColumnType::Array { element, .. } => return write!(f, "{element}[]"),
            ColumnType::Vector { element } if **element == ColumnType::Int16 => "int2vector",
            ColumnType::Vector { .. } => "oidvector",
            ColumnType::Boolean => "boolean",
            ColumnType::BitFlag => "bit(1)",
            ColumnType::Int16 => "smallint",
            ColumnType::Int32 => "integer",
            ColumnType::Int64 => "bigint",
            ColumnType::Oid => "oid",
            ColumnType::Float32 => "real",
            ColumnType::Float64 => "double precision",
            ColumnType::VariableDecimal => "numeric",
            ColumnType::Money => "money",
            ColumnType::Text => "text",
            ColumnType::Json => "json",
            ColumnType::Xml => "xml",
            ColumnType::Uuid => "uuid",
            ColumnType::Ltree => "ltree",
            ColumnType::TextSearchVector => "tsvector",
            ColumnType::Enum { .. } => "enum",
            ColumnType::Date => "date",
            ColumnType::Time(_) => "time",
            ColumnType::ZonedTime => "timetz",
            ColumnType::Timestamp(_) => "timestamp",
            ColumnType::ZonedTimestamp { .. } => "timestamptz",
            ColumnType::Interval => "interval",
            ColumnType::Bytes => "bytea",
            ColumnType::Hstore => "hstore",
            ColumnType::Point => "point",
        })
    }
}

/// What a temporal number counts: milliseconds up to precision 3, microseconds above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    Millis,
    Micros,
}

/// A type oid, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub column_type: ColumnType,
    /// The type is a domain that forbids NULL, which makes the column required.
    pub not_null_domain: bool,
    /// Debezium carries defaults of this type into the schema.
    pub carries_default: bool,
}

/// Resolves a type by its oid and typmod. A type that is neither built in nor in `types` is text.
#[must_use]
pub fn resolve(oid: Oid, typmod: i32, types: &Types) -> Resolved {
    let domain = match types.0.get(&oid).map(|facts| &facts.kind) {
        Some(TypeKind::Domain { not_null, .. }) => Some(*not_null),
        _ => None,
    };
    let (oid, typmod) = base_of(oid, typmod, &types.0);
    let column_type = base_type(oid, typmod, &types.0);
    Resolved {
        carries_default: domain.is_none() && carries_default(oid, &column_type),
        not_null_domain: domain == Some(true),
        column_type,
    }
}

/// Follows domains to their base. A typmod that is set wins over the ones further in; a catalog
/// that nests deeper than [`MAX_DOMAIN_DEPTH`] is broken, and its type stays unknown.
fn base_of(mut oid: Oid, mut typmod: i32, types: &HashMap<Oid, TypeFacts>) -> (Oid, i32) {
    for _ in 0..MAX_DOMAIN_DEPTH {
        match types.get(&oid).map(|facts| &facts.kind) {
            Some(TypeKind::Domain { base, typmod: inner, .. }) => {
                oid = *base;
                if typmod == -1 {
                    typmod = *inner;
                }
            }
            _ => return (oid, typmod),
        }
    }
    (Oid(0), -1)
}

fn base_type(oid: Oid, typmod: i32, types: &HashMap<Oid, TypeFacts>) -> ColumnType {
    if let Some(scalar) = scalar(oid, typmod) {
        return scalar;
    }
    if let Some((element, nullable_elements)) = builtin_array(oid) {
        return array(scalar(element, typmod), nullable_elements);
    }
    match types.get(&oid) {
        Some(facts) => catalog_type(facts, types),
        None => ColumnType::Text,
    }
}

fn catalog_type(facts: &TypeFacts, types: &HashMap<Oid, TypeFacts>) -> ColumnType {
    match &facts.kind {
        TypeKind::Enum { labels } => ColumnType::Enum { labels: labels.clone() },
        TypeKind::Base => extension_type(&facts.name).unwrap_or(ColumnType::Text),
        TypeKind::Array { element } => match types.get(element) {
            Some(TypeFacts { kind: TypeKind::Enum { labels }, .. }) => {
                array(Some(ColumnType::Enum { labels: labels.clone() }), false)
            }
            Some(TypeFacts { kind: TypeKind::Base, name, .. }) => {
                // Arrays of built-in types have fixed oids and were found before; the ones that
                // are left (`money[]`, `xml[]`, …) are text, as are their elements here.
                array(extension_type(name), true)
            }
            _ => ColumnType::Text,
        },
        _ => ColumnType::Text,
    }
}

/// Types of extensions have no fixed oid.
fn extension_type(name: &str) -> Option<ColumnType> {
    match name {
        "hstore" => Some(ColumnType::Hstore),
        "ltree" => Some(ColumnType::Ltree),
        "citext" | "isbn" => Some(ColumnType::Text),
        _ => None,
    }
}

fn array(element: Option<ColumnType>, nullable_elements: bool) -> ColumnType {
    match element {
        Some(element) => ColumnType::Array { element: Box::new(element), nullable_elements },
        None => ColumnType::Text,
    }
}

fn scalar(oid: Oid, typmod: i32) -> Option<ColumnType> {
    Some(match oid.0 {
        16 => ColumnType::Boolean,
        17 => ColumnType::Bytes,
        20 => ColumnType::Int64,
        21 => ColumnType::Int16,
        22 => ColumnType::Vector { element: Box::new(ColumnType::Int16) },
        23 => ColumnType::Int32,
        26 => ColumnType::Oid,
        30 => ColumnType::Vector { element: Box::new(ColumnType::Oid) },
        114 | 3802 => ColumnType::Json,
        142 => ColumnType::Xml,
        600 => ColumnType::Point,
        700 => ColumnType::Float32,
        701 => ColumnType::Float64,
        790 => ColumnType::Money,
        1082 => ColumnType::Date,
        1083 => ColumnType::Time(TimeUnit::of(typmod)),
        1114 => ColumnType::Timestamp(TimeUnit::of(typmod)),
        1184 => ColumnType::ZonedTimestamp { fraction: fraction_digits(typmod) },
        1186 => ColumnType::Interval,
        1266 => ColumnType::ZonedTime,
        1560 | 1562 => bits(typmod),
        1700 => numeric(typmod),
        2950 => ColumnType::Uuid,
        3614 => ColumnType::TextSearchVector,
        // char, name, text, cidr, inet, macaddr, macaddr8, bpchar, varchar and the ranges
        18 | 19 | 25 | 650 | 869 | 829 | 774 | 1042 | 1043 | 3904 | 3906 | 3908 | 3910 | 3912
        | 3926 => ColumnType::Text,
        _ => return None,
    })
}

impl TimeUnit {
    fn of(typmod: i32) -> TimeUnit {
        if (0..=3).contains(&typmod) { TimeUnit::Millis } else { TimeUnit::Micros }
    }
}

fn fraction_digits(typmod: i32) -> u8 {
    u8::try_from(typmod).map_or(6, |digits| digits.min(6))
}

fn bits(typmod: i32) -> ColumnType {
    match u32::try_from(typmod) {
        Ok(1) => ColumnType::BitFlag,
        Ok(length) if length > 0 => ColumnType::Bits { length },
        _ => ColumnType::Bits { length: i32::MAX.unsigned_abs() },
    }
}

fn numeric(typmod: i32) -> ColumnType {
    // The typmod is (precision << 16 | scale) + 4.
    match typmod.checked_sub(4).and_then(|packed| u32::try_from(packed).ok()) {
        Some(packed) => {
            ColumnType::Decimal { precision: (packed >> 16) & 0xFFFF, scale: packed & 0x7FF }
        }
        None => ColumnType::VariableDecimal,
    }
}

/// The element of a built-in array type that Debezium maps, and whether elements may be null.
fn builtin_array(oid: Oid) -> Option<(Oid, bool)> {
    let element = match oid.0 {
        199 => 114,
        651 => 650,
        775 => 774,
        1000 => 16,
        1001 => 17,
        1002 => 18,
        1005 => 21,
        1007 => 23,
        1009 => 25,
        1014 => 1042,
        1015 => 1043,
        1016 => 20,
        1021 => 700,
        1022 => 701,
        1028 => 26,
        1040 => 829,
        1041 => 869,
        1115 => 1114,
        1182 => 1082,
        1183 => 1083,
        1185 => 1184,
        1231 => 1700,
        1270 => 1266,
        2951 => 2950,
        3643 => return Some((Oid(3614), false)),
        3807 => 3802,
        3905 => 3904,
        3907 => 3906,
        3909 => 3908,
        3911 => 3910,
        3913 => 3912,
        3927 => 3926,
        _ => return None,
    };
    Some((Oid(element), true))
}

/// Types whose literal defaults Debezium carries into the schema; none through a domain.
fn carries_default(oid: Oid, column_type: &ColumnType) -> bool {
    match column_type {
        ColumnType::Enum { .. } => true,
        // text, bpchar, varchar; not `"char"`, `name`, addresses, ranges or extension types
        ColumnType::Text => matches!(oid.0, 25 | 1042 | 1043),
        ColumnType::Oid
        | ColumnType::VariableDecimal
        | ColumnType::Money
        | ColumnType::Ltree
        | ColumnType::TextSearchVector
        | ColumnType::ZonedTime
        | ColumnType::Bytes
        | ColumnType::Hstore
        | ColumnType::Point
        | ColumnType::Array { .. }
        | ColumnType::Vector { .. } => false,
        _ => true,
    }
}

/// Postgres has no limit; real nesting is one or two.
const MAX_DOMAIN_DEPTH: usize = 32;

#[cfg(test)]
mod tests;
