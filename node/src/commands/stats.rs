//! `aerodb collection stats`: how much a collection holds, and the state of each of its indexes.

use serde_json::Value;

use super::index::{self, indexes_of};
use super::items;
use crate::client::{Call, Client, segment};
use crate::output::Output;
use crate::units;

/// Asks for the figures, and shows them.
pub(super) async fn run(client: &Client, collection: &str, output: Output) -> anyhow::Result<()> {
    let path = format!("/admin/collections/{}/stats", segment(collection));
    let mut stats: Value = client.send(&Call::get(path)).await?.json()?;
    let indexes = indexes_of(client, collection).await?;
    stats["indexes"] = together(items(&indexes, "indexes"), items(&stats["indexes"], "indexes"));
    Ok(output.result(&stats, || render(&stats))?)
}

/// What the indexes are, with what the figures say of each.
fn together(indexes: &[Value], figures: &[Value]) -> Value {
    let with_figures = |index: &Value| {
        let mut index = index.clone();
        let of_it = figures.iter().find(|figures| figures["name"] == index["name"]).and_then(Value::as_object);
        if let (Some(index), Some(figures)) = (index.as_object_mut(), of_it) {
            index.extend(figures.clone());
        }
        index
    };
    indexes.iter().map(with_figures).collect()
}

fn render(stats: &Value) -> String {
    let (documents, bytes) = (stats["documents"].as_u64(), stats["bytes"].as_u64());
    let mut text = documents.map(|documents| units::plural(documents, "document")).unwrap_or_default();
    if let Some(bytes) = bytes {
        text.push_str(&format!(", {}", units::bytes(bytes)));
    }
    if let (Some(documents @ 1..), Some(bytes)) = (documents, bytes) {
        text.push_str(&format!(" ({} each)", units::bytes(bytes / documents)));
    }
    if let Some(revision) = stats["revision"].as_u64() {
        text.push_str(&format!(", at revision {revision}"));
    }
    let indexes = items(&stats["indexes"], "indexes");
    if indexes.is_empty() {
        return format!("{text}\n\nno indexes");
    }
    format!("{text}\n\n{}", index::render(indexes, documents))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_and_indexes() {
        let indexes = json!([
            {"name":"by_age","fields":[{"path":"age","order":"desc"}],"unique":false,"state":"ready","entries":1200,"created_revision":3},
            {"name":"new","fields":[{"path":"a","order":"asc"},{"path":"b.c","order":"asc"}],"unique":true,"filter":{"on":true},
             "state":"building","entries":10,"built_documents":300,"created_revision":4},
        ]);
        let figures = json!([{"name":"by_age","bytes":4096,"uses":7}]);
        let indexes = together(indexes.as_array().unwrap(), figures.as_array().unwrap());
        let stats = json!({"documents":1200,"bytes":120_000,"revision":9,"indexes":indexes});
        let expected = "\
1,200 documents, 117.2 KiB (100 B each), at revision 9

NAME    FIELDS    KIND             STATE          ENTRIES    BYTES  USES
by_age  age.desc                   ready            1,200  4.0 KiB     7
new     a,b.c     unique, partial  building 25 %       10";
        assert_eq!(render(&stats), expected);
        let none = json!({"documents":0,"bytes":0,"revision":1,"indexes":[]});
        assert_eq!(render(&none), "0 documents, 0 B, at revision 1\n\nno indexes");
    }
}
