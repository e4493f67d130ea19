//! The index page: what a person sees who opens the address in a browser.

use std::fmt::Write as _;

use super::shared::StatusView;
use crate::postgres::Lsn;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;\
padding:0 1rem;color:#222;background:#fff}table{border-collapse:collapse;margin:1rem 0}\
td,th{padding:.2rem .9rem .2rem 0;text-align:left;border-bottom:1px solid #ddd}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.ok{color:#0a6b2d}.no{color:#a51d1d}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}td,th{border-color:#444}\
a{color:#8bf}.ok{color:#6d6}.no{color:#f88}}";

/// The page for `view`; it asks for itself again every five seconds.
pub(super) fn render(view: &StatusView) -> String {
    let mut page = String::with_capacity(4096);
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"refresh\" content=\"5\"><title>walferry {name}</title>\
         <style>{STYLE}</style></head><body><h1>walferry <code>{name}</code></h1>",
        name = escape(&view.name)
    );
    state(&mut page, view);
    facts(&mut page, view);
    snapshot(&mut page, view);
    tables(&mut page, view);
    page.push_str(
        "<ul><li><a href=\"/status\">/status</a>: all of this as JSON</li>\
         <li><a href=\"/metrics\">/metrics</a>: for Prometheus</li>\
         <li><a href=\"/readyz\">/readyz</a>: 200 while the stream flows, else 503 and why</li>\
         <li><a href=\"/healthz\">/healthz</a>: 200 while the process works, else 503</li></ul>\
         </body></html>\n",
    );
    page
}

fn state(page: &mut String, view: &StatusView) {
    let class = if view.ready { "ok" } else { "no" };
    let _ = write!(
        page,
        "<p>State <strong class=\"{class}\">{}</strong> since {}",
        view.state.as_str(),
        escape(&view.state_since)
    );
    if let Some(not_ready) = &view.not_ready {
        let message = escape(&not_ready.message);
        let _ = write!(page, "<br>not ready ({}): {message}", not_ready.reason.as_str());
    }
    page.push_str("</p>");
}

fn facts(page: &mut String, view: &StatusView) {
    let lsn = |lsn: Lsn| if lsn == Lsn::INVALID { String::from("-") } else { lsn.to_string() };
    let number = |n: Option<u64>| n.map_or_else(|| String::from("-"), |n| n.to_string());
    let retained = view.server.as_ref().and_then(|server| server.retained_wal_bytes);
    let lag_seconds =
        view.lag_seconds.map_or_else(|| String::from("-"), |seconds| format!("{seconds:.1} s"));
    let reconnects: u64 = view.reconnects.values().sum();
    let rows = [
        ("Version", String::from(view.version)),
        ("Running since", view.started_at.clone()),
        ("Server's log", lsn(view.positions.server)),
        ("Received", lsn(view.positions.received)),
        ("Acknowledged by Kafka", lsn(view.positions.acknowledged)),
        ("Confirmed to Postgres", lsn(view.positions.confirmed)),
        ("Lag", lag_seconds),
        ("Lag in bytes", number(view.lag_bytes)),
        ("Log kept by the slot, bytes", number(retained)),
        ("In flight, records", view.in_flight.records.to_string()),
        ("In flight, bytes", view.in_flight.bytes.to_string()),
        ("Reconnects", reconnects.to_string()),
    ];
    page.push_str("<table>");
    for (name, value) in rows {
        let _ = write!(page, "<tr><td>{name}</td><td class=\"n\">{}</td></tr>", escape(&value));
    }
    page.push_str("</table>");
}

fn snapshot(page: &mut String, view: &StatusView) {
    let Some(progress) = &view.snapshot else { return };
    page.push_str("<table><tr><th>Being read</th><th>Rows</th><th class=\"n\">Of about</th></tr>");
    for table in progress.tables.iter().take(MAX_TABLES) {
        let share = table.rows_estimated.unwrap_or_default().max(table.rows).max(1);
        let _ = write!(
            page,
            "<tr><td>{}</td><td><progress value=\"{}\" max=\"{share}\"></progress> {}</td>\
             <td class=\"n\">{}</td></tr>",
            escape(&table.table),
            table.rows,
            table.rows,
            table.rows_estimated.map_or_else(|| String::from("?"), |rows| rows.to_string())
        );
    }
    page.push_str("</table>");
}

/// Tables shown; the rest is in `/status`.
const MAX_TABLES: usize = 200;

fn tables(page: &mut String, view: &StatusView) {
    if view.tables.is_empty() {
        return;
    }
    page.push_str("<table><tr><th>Table</th><th>Records</th><th class=\"n\">Bytes</th></tr>");
    for table in view.tables.iter().take(MAX_TABLES) {
        let records: Vec<String> =
            table.records.iter().map(|(op, count)| format!("{count} {op}")).collect();
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td></tr>",
            escape(&table.table),
            records.join(", "),
            table.bytes
        );
    }
    page.push_str("</table>");
    if let Some(more) = view.tables.len().checked_sub(MAX_TABLES).filter(|more| *more > 0) {
        let _ = write!(page, "<p>and {more} more tables</p>");
    }
}

/// Names of tables are anything that Postgres allows, markup included.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::telemetry::{PumpMetrics, Reason, RecordKind, Snapshot, State, Telemetry};

    #[test]
    fn markup_in_names_and_messages_is_text() {
        let telemetry = Telemetry::new("shop");
        let mut pump = PumpMetrics::new(Arc::clone(&telemetry));
        let table = pump.table("public.\"<script>alert('1')</script>\"");
        pump.record(table, RecordKind::Create, 1);
        pump.flush();
        telemetry.publish(Snapshot::unready(State::Connecting, Reason::Postgres, "<b>down</b>"));
        let page = render(&telemetry.view());
        assert!(!page.contains("<script>") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)"), "{page}");
        assert!(page.contains("not ready (postgres): &lt;b&gt;down"), "{page}");
        assert!(page.contains("1 create"), "{page}");
    }
}
