//! stub
use crate::avro::{ColumnShape, TableShape};
use crate::config::settings::FormatSettings;
pub fn column_type(c: &ColumnShape, _f: &FormatSettings) -> String {
    if c.nullable { r#"["null","string"]"#.into() } else { r#""string""#.into() }
}
fn fields(c: &mut dyn Iterator<Item = &ColumnShape>, f: &FormatSettings) -> String {
    c.map(|c| {
        format!(
            r#"{{"name":"{}","type":{}{}}}"#,
            c.name,
            column_type(c, f),
            if c.nullable { r#","default":null"# } else { "" }
        )
    })
    .collect::<Vec<_>>()
    .join(",")
}
pub fn value_record(s: &TableShape, f: &FormatSettings, ns: &str) -> String {
    format!(
        r#"{{"type":"record","name":"Value","fields":[{}],"connect.name":"{ns}.Value"}}"#,
        fields(&mut s.columns.iter(), f)
    )
}
pub fn key(s: &TableShape, f: &FormatSettings, ns: &str) -> Option<String> {
    if s.key.is_empty() {
        return None;
    };
    Some(format!(
        r#"{{"type":"record","name":"Key","namespace":"{ns}","fields":[{}],"connect.name":"{ns}.Key"}}"#,
        fields(&mut s.key.iter().map(|&i| &s.columns[i]), f)
    ))
}
