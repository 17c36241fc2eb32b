//! The documents: real cities and towns, repeated with variation until there are enough.
//!
//! The first round has them as they are. In each further one every place comes again under another id, with a population
//! that is a half to one and a half times the real one, and up to half a degree away in latitude and longitude; names,
//! countries and time zones stay. What varies follows from the document's number alone: all runs have the same documents.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// How the documents vary, for the report.
pub(super) const VARIATION: &str = "27,394 real places; repetitions have another id, 0.5 to 1.5 times the population and \
    up to 0.5 degrees another latitude and longitude, drawn from the document's number";

/// Parts of a degree that latitudes and longitudes are told to.
const DEGREE: f64 = 1e5;
/// How far a repetition lies from the real place, in such parts.
const SHIFT: u64 = 50_000;

/// All documents of a comparison; each is made when it is needed.
pub(super) struct Cities {
    places: Vec<Place>,
    /// How many documents there are before anything is inserted.
    pub(super) documents: u64,
    /// The populations of those, ascending: ranges that hold a certain number of documents are cut from it.
    populations: Vec<i64>,
    /// The countries of those.
    countries: Vec<String>,
}

/// A line of the data.
struct Place {
    id: String,
    country: String,
    /// Members between the id and the latitude, as JSON.
    name: String,
    latitude: f64,
    longitude: f64,
    population: i64,
    /// The time zone, as JSON.
    timezone: String,
}

impl Place {
    fn parse(line: &str) -> Result<Self> {
        let city: Value = serde_json::from_str(line)?;
        let text = |member: &str| city[member].as_str().map(str::to_owned).with_context(|| format!("no {member}"));
        let float = |member: &str| city[member].as_f64().with_context(|| format!("no {member}"));
        let members = ["name", "country", "country_name", "continent", "admin"];
        let members: Vec<String> = members.iter().map(|member| format!("\"{member}\":{}", city[*member])).collect();
        Ok(Self {
            id: text("id")?,
            country: text("country")?,
            name: members.join(","),
            latitude: float("lat")?,
            longitude: float("lon")?,
            population: city["population"].as_i64().context("no population")?,
            timezone: city["timezone"].to_string(),
        })
    }
}

impl Cities {
    /// Reads the places; there will be so many documents of them.
    pub(super) fn read(path: &Path, documents: u64) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let places = text
            .lines()
            .enumerate()
            .map(|(at, line)| Place::parse(line).with_context(|| format!("line {} of {}", at + 1, path.display())));
        let places: Vec<Place> = places.collect::<Result<_>>()?;
        ensure!(!places.is_empty(), "{} has no places", path.display());
        let mut cities = Self { places, documents, populations: Vec::new(), countries: Vec::new() };
        cities.populations = (0..documents).map(|number| cities.population(number)).collect();
        cities.populations.sort_unstable();
        let countries = (0..documents).map(|number| &cities.place(number).0.country);
        cities.countries = countries.collect::<BTreeSet<_>>().into_iter().cloned().collect();
        Ok(cities)
    }

    /// The place of a document, and which repetition of it this is; the real one is 0.
    fn place(&self, number: u64) -> (&Place, u64) {
        let places = self.places.len() as u64;
        (&self.places[(number % places) as usize], number / places)
    }

    /// The id of the document with this number.
    pub(super) fn id(&self, number: u64) -> String {
        let (place, repetition) = self.place(number);
        [&place.id, "-", &repetition.to_string()].concat()
    }

    fn population(&self, number: u64) -> i64 {
        let (place, repetition) = self.place(number);
        match repetition {
            0 => place.population,
            _ => place.population * (512 + drawn(number, 0, 1_025)) / 1_024,
        }
    }

    /// The document with this number. Those beyond the first [`Cities::documents`] are for inserts.
    pub(super) fn document(&self, number: u64) -> String {
        let (place, repetition) = self.place(number);
        let moved = |degrees: f64, nth: u64, most: f64| {
            let shift = if repetition == 0 { 0 } else { drawn(number, nth, 2 * SHIFT + 1) - SHIFT as i64 };
            ((degrees * DEGREE).round() + shift as f64).clamp(-most * DEGREE, most * DEGREE) / DEGREE
        };
        let (latitude, longitude) = (moved(place.latitude, 1, 90.0), moved(place.longitude, 2, 180.0));
        format!(
            r#"{{"id":"{}-{repetition}",{},"lat":{latitude:?},"lon":{longitude:?},"population":{},"timezone":{}}}"#,
            place.id,
            place.name,
            self.population(number),
            place.timezone,
        )
    }

    /// From which population to below which about so many documents are, the first of them in this place of all.
    pub(super) fn stretch(&self, place: u64, documents: u64) -> (i64, i64) {
        let last = self.populations.len() - 1;
        let end = last.min(place as usize + documents as usize);
        let from = self.populations[end.saturating_sub(documents as usize)];
        (from, self.populations[end].max(from + 1))
    }

    /// One of the countries.
    pub(super) fn country(&self, number: u64) -> &str {
        &self.countries[(number % self.countries.len() as u64) as usize]
    }
}

/// The `nth` number drawn for a document, from 0 to below `end`: splitmix64, by Steele, Lea and Flood (2014).
fn drawn(number: u64, nth: u64, end: u64) -> i64 {
    let mut bits = (3 * number + nth + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) % end).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cities(documents: u64) -> Cities {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/data/cities.jsonl");
        Cities::read(Path::new(path), documents).unwrap()
    }

    #[test]
    fn the_first_round_is_real_and_the_next_ones_vary() {
        let cities = cities(60_000);
        let parse = |number| serde_json::from_str::<Value>(&cities.document(number)).unwrap();
        let (real, other) = (parse(0), parse(cities.places.len() as u64));
        assert_eq!(
            (&real["id"], &real["lat"], &real["population"]),
            (&"1000006-0".into(), &(-29.06415).into(), &23139.into())
        );
        assert_eq!((&other["id"], &other["name"]), (&"1000006-1".into(), &real["name"]));
        assert_eq!(other["id"], cities.id(cities.places.len() as u64));
        let near = (other["lat"].as_f64().unwrap() + 29.06415).abs();
        assert!(near > 0.0 && near < 0.6, "{other}");
        let population = other["population"].as_i64().unwrap();
        assert!((11_000..35_000).contains(&population) && population != 23_139, "{other}");
    }

    #[test]
    fn stretches_hold_what_was_asked_for() {
        let cities = cities(60_000);
        for place in [0, 30_000, 59_999] {
            let (from, to) = cities.stretch(place, 100);
            let held = (0..60_000).filter(|number| (from..to).contains(&cities.population(*number))).count();
            assert!((50..400).contains(&held), "{held} from {from} to {to}");
        }
    }
}
