//! The SELECT of a table's rows as the stream would send them.

use super::{Source, Target};
use crate::pgoutput::RelationColumn;
use crate::postgres::{Oid, query};
use crate::snapshot::Key;
use crate::snapshot::scan::Request;

/// What is read of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// For errors.
    table: String,
    columns: String,
    /// Not of tables that inherit from it.
    only: bool,
    /// Those of the columns that are not left out.
    read: Vec<Column>,
    conditions: Vec<String>,
}

/// A column as the snapshot knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    name: String,
    type_oid: Oid,
}

impl Selection {
    /// The columns of the target's relation, in its order, whatever the order in the source.
    /// Columns in `excluded` are NULL without being read, unless they belong to a key.
    #[must_use]
    pub fn new(
        target: &Target,
        source: &Source,
        excluded: &[String],
        condition: Option<&str>,
    ) -> Selection {
        let is_read = |column: &&RelationColumn| {
            !excluded.contains(&column.name) || target.primary_key.contains(&column.name)
        };
        let all = &target.relation.columns;
        let columns: Vec<String> = all
            .iter()
            .map(|column| {
                let name = query::identifier(&column.name);
                if is_read(&column) { name } else { format!("NULL AS {name}") }
            })
            .collect();
        let read = all
            .iter()
            .filter(is_read)
            .map(|column| Column { name: column.name.clone(), type_oid: column.type_oid });
        let conditions = [source.filter.as_deref(), condition].into_iter().flatten();
        Selection {
            table: query::qualified(&source.schema, &source.name),
            columns: columns.join(", "),
            only: true,
            read: read.collect(),
            conditions: conditions.map(|condition| format!("({condition})")).collect(),
        }
    }

    /// The source, for people.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The selection of a target that is read in chunks: of itself, or of all its partitions.
    #[must_use]
    pub fn of_target(target: &Target, excluded: &[String], condition: Option<&str>) -> Selection {
        let relation = &target.relation;
        let source = Source {
            oid: target.oid,
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            pages: 0,
            rows: None,
            bytes: 0,
            filter: target.sources.first().and_then(|source| source.filter.clone()),
        };
        let mut selection = Selection::new(target, &source, excluded, condition);
        selection.only = target.is_alone();
        selection
    }

    /// The COPY of the rows that are asked for, in the order of their key.
    #[must_use]
    pub fn chunk(&self, relation: &str, key: &[String], request: &Request, limit: usize) -> String {
        let columns: Vec<String> = key.iter().map(|column| query::identifier(column)).collect();
        let columns = columns.join(", ");
        let literals = |key: &Key| {
            let texts: Vec<String> = key.texts().iter().map(|text| query::literal(text)).collect();
            format!("({})", texts.join(", "))
        };
        let place = match request {
            Request::After(after) => {
                after.as_ref().map(|key| format!("({columns}) > {}", literals(key)))
            }
            Request::Keys(keys) => {
                let keys: Vec<String> = keys.iter().map(literals).collect();
                Some(format!("({columns}) IN ({})", keys.join(", ")))
            }
        };
        let limit = match request {
            Request::After(_) => format!(" LIMIT {limit}"),
            Request::Keys(_) => String::new(),
        };
        let rows = self.rows(relation, place);
        format!("COPY ({rows} ORDER BY {columns}{limit}) TO STDOUT")
    }

    fn rows(&self, relation: &str, place: Option<String>) -> String {
        let conditions: Vec<String> = place.into_iter().chain(self.conditions.clone()).collect();
        let filter = if conditions.is_empty() { "" } else { " WHERE " };
        let only = if self.only { "ONLY " } else { "" };
        let conditions = conditions.join(" AND ");
        format!("SELECT {} FROM {only}{relation}{filter}{conditions}", self.columns)
    }

    /// Asks whether the columns that are read are still those that the snapshot knows: a name can
    /// belong to another column by now, and a type can change without the rows being written anew.
    /// The question fails if one is gone, and is `None` if no column is read.
    ///
    /// The catalog's rows are the snapshot's; functions, and the types of expressions, are of now.
    pub(super) fn is_unchanged(&self, relation: &str) -> Option<String> {
        if self.read.is_empty() {
            return None;
        }
        let join = |map: &dyn Fn(&Column) -> String| {
            self.read.iter().map(map).collect::<Vec<_>>().join(", ")
        };
        Some(format!(
            "SELECT ARRAY[{types}] = '{{{expected}}}'::oid[] AND NOT EXISTS (
               SELECT FROM pg_attribute a
               WHERE a.attrelid = {relation_text}::regclass AND a.attname = ANY (ARRAY[{names}])
                 AND (pg_identify_object_as_address(1259, a.attrelid, a.attnum)).object_names[3]
                     IS DISTINCT FROM a.attname::text) AS same
             FROM (SELECT) one LEFT JOIN ONLY {relation} t ON false",
            types =
                join(&|column| format!("pg_typeof(t.{})::oid", query::identifier(&column.name))),
            expected = join(&|column| column.type_oid.0.to_string()),
            relation_text = query::literal(relation),
            names = join(&|column| query::literal(&column.name)),
        ))
    }

    /// The COPY of a range; `relation` is the source's present name, quoted.
    #[must_use]
    pub fn copy(&self, relation: &str, range: Option<&str>) -> String {
        format!("COPY ({}) TO STDOUT", self.rows(relation, range.map(str::to_owned)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pgoutput::{Relation, ReplicaIdentity};

    #[test]
    fn excluded_columns_are_never_read() {
        let column = |name: &str| RelationColumn {
            name: name.to_owned(),
            key: false,
            type_oid: Oid(25),
            typmod: -1,
        };
        let source = Source {
            oid: Oid(2),
            schema: "public".to_owned(),
            name: "leaf \"1\"".to_owned(),
            pages: 0,
            rows: None,
            bytes: 0,
            filter: Some("a > 1".to_owned()),
        };
        let target = Target {
            oid: Oid(1),
            relation: Relation {
                oid: Oid(1),
                schema: "public".to_owned(),
                name: "root".to_owned(),
                identity: ReplicaIdentity::Default,
                columns: ["id", "select", "secret"].map(column).to_vec(),
            },
            sources: vec![source.clone()],
            outbox: false,
            primary_key: vec!["id".to_owned()],
        };
        let excluded = ["secret".to_owned(), "id".to_owned()];
        let selection = Selection::new(&target, &source, &excluded, Some("b = 2 OR c = 3"));
        assert_eq!(selection.table(), r#""public"."leaf ""1""""#);
        assert_eq!(
            selection.copy("public.now", Some("ctid >= '(7,0)'::tid")),
            "COPY (SELECT \"id\", \"select\", NULL AS \"secret\" FROM ONLY public.now \
             WHERE ctid >= '(7,0)'::tid AND (a > 1) AND (b = 2 OR c = 3)) TO STDOUT"
        );
        let bare = Source { filter: None, ..source };
        let selection = Selection::new(&target, &bare, &[], None);
        let request = Request::After(Some(Key::from_texts(&["o'ne", "2"])));
        let key = ["id".to_owned(), "select".to_owned()];
        assert_eq!(
            selection.chunk("public.now", &key, &request, 10),
            "COPY (SELECT \"id\", \"select\", \"secret\" FROM ONLY public.now \
             WHERE (\"id\", \"select\") > ('o''ne', '2') \
             ORDER BY \"id\", \"select\" LIMIT 10) TO STDOUT"
        );
        let keys = [["1"], ["2"]].map(|texts| Key::from_texts(&texts)).into_iter().collect();
        let of_root = Selection { only: false, conditions: vec![], ..selection.clone() };
        assert_eq!(
            of_root.chunk("public.now", &key[..1], &Request::Keys(keys), 10),
            "COPY (SELECT \"id\", \"select\", \"secret\" FROM public.now \
             WHERE (\"id\") IN (('1'), ('2')) ORDER BY \"id\") TO STDOUT"
        );
        let all = "COPY (SELECT \"id\", \"select\", \"secret\" FROM ONLY public.now) TO STDOUT";
        assert_eq!(selection.copy("public.now", None), all);
    }
}
