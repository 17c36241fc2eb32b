//! The requests as PostgreSQL takes them: prepared statements over a table of `jsonb` with an index of each expression that
//! is asked by.
//!
//! The statements are the cheapest that give the same answer: `bigint`, not `numeric`; no second key where values are equal,
//! which AeroDB orders by id; an `unnest` for many rows.

use std::sync::Arc;

use aerodb_load::{Failure, Request, Session, Target};
use anyhow::{Context, Result};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::INDEXED;
use super::answer::Answer;
use super::work::{Ask, Question};
use crate::product::Postgres;
use crate::product::postgres::{connect, failure};

/// A statement and its parameters.
struct Sql {
    text: &'static str,
    parameters: Vec<Box<dyn ToSql + Send + Sync>>,
    /// It gives no rows.
    changes: bool,
}

impl Sql {
    fn of(question: Question) -> Self {
        let read = |text, parameters| Self { text, parameters, changes: false };
        let write = |text, parameters| Self { text, parameters, changes: true };
        match question {
            Question::Get { id } => read("SELECT doc::text FROM cities WHERE id = $1", vec![Box::new(id)]),
            Question::Range { from, to } => read(
                "SELECT doc::text FROM cities WHERE (doc->>'population')::bigint >= $1 \
                 AND (doc->>'population')::bigint < $2 ORDER BY (doc->>'population')::bigint LIMIT 50",
                vec![Box::new(from), Box::new(to)],
            ),
            Question::Sort { from } => read(
                "SELECT doc::text FROM cities WHERE (doc->>'population')::bigint <= $1 \
                 ORDER BY (doc->>'population')::bigint DESC LIMIT 50",
                vec![Box::new(from)],
            ),
            Question::Topk => {
                read("SELECT doc::text FROM cities ORDER BY (doc->>'lat')::float8 DESC LIMIT 10", Vec::new())
            }
            Question::Count { country } => {
                read("SELECT count(*) FROM cities WHERE doc->>'country' = $1", vec![Box::new(country)])
            }
            Question::CountAll => read("SELECT count(*) FROM cities", Vec::new()),
            Question::Group => read(
                "SELECT doc->>'country', count(*), sum((doc->>'population')::bigint)::bigint, \
                 avg((doc->>'population')::bigint)::float8 FROM cities GROUP BY doc->>'country'",
                Vec::new(),
            ),
            Question::Update { from, to, value } => write(
                "UPDATE cities SET doc = jsonb_set(doc, '{checked}', to_jsonb($3::bigint)) \
                 WHERE (doc->>'population')::bigint >= $1 AND (doc->>'population')::bigint < $2",
                vec![Box::new(from), Box::new(to), Box::new(value)],
            ),
            Question::Insert { documents, many: true } => {
                let (ids, documents): (Vec<String>, Vec<String>) = documents.into_iter().unzip();
                write(
                    "INSERT INTO cities (id, doc) SELECT id, doc::jsonb FROM unnest($1::text[], $2::text[]) AS new (id, doc)",
                    vec![Box::new(ids), Box::new(documents)],
                )
            }
            Question::Insert { documents, many: false } => {
                let (id, document) = documents.into_iter().next().unwrap_or_default();
                write(
                    "INSERT INTO cities (id, doc) VALUES ($1, ($2::text)::jsonb)",
                    vec![Box::new(id), Box::new(document)],
                )
            }
        }
    }
}

/// What a statement gave.
enum Given {
    Rows(Vec<Row>),
    Changed(u64),
}

/// A connection and the statement that was prepared on it last: a load asks one.
struct Open {
    client: Client,
    prepared: Option<(&'static str, Statement)>,
}

impl Open {
    async fn ask(&mut self, question: Question) -> Result<Given, tokio_postgres::Error> {
        let Sql { text, parameters, changes } = Sql::of(question);
        let statement = match &self.prepared {
            Some((prepared, statement)) if *prepared == text => statement.clone(),
            _ => {
                let statement = self.client.prepare(text).await?;
                self.prepared.insert((text, statement)).1.clone()
            }
        };
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|one| &**one as &(dyn ToSql + Sync)).collect();
        Ok(match changes {
            true => Given::Changed(self.client.execute(&statement, &parameters).await?),
            false => Given::Rows(self.client.query(&statement, &parameters).await?),
        })
    }
}

/// Asks over connections of the load generator.
pub(super) struct Documents {
    config: Arc<tokio_postgres::Config>,
    ask: Ask,
}

impl Target for Documents {
    type Session = Asking;

    fn session(&self, _worker: u32) -> Result<Asking, String> {
        Ok(Asking { config: self.config.clone(), ask: self.ask.clone(), open: None })
    }
}

/// A connection of the load generator.
pub(super) struct Asking {
    config: Arc<tokio_postgres::Config>,
    ask: Ask,
    open: Option<Open>,
}

impl Asking {
    async fn connect(&mut self) -> Result<&mut Open> {
        if self.open.is_none() {
            self.open = Some(Open { client: connect(&self.config).await?, prepared: None });
        }
        self.open.as_mut().context("no connection")
    }
}

impl Session for Asking {
    async fn open(&mut self) {
        // Whether it works shows in the first statement.
        let _ = self.connect().await;
    }

    async fn perform(&mut self, request: &Request) -> Result<(), Failure> {
        // The load generator draws a number; what is asked with it is the row's.
        let number = match request {
            Request::Read { number } | Request::Write { number, .. } => *number,
            Request::Insert { .. } => 0,
        };
        let question = (self.ask)(number);
        let wanted = matches!(question, Question::Get { .. });
        let open = self.connect().await.map_err(|_| Failure::CONNECT)?;
        match open.ask(question).await.map_err(failure)? {
            Given::Rows(rows) if wanted && rows.is_empty() => Err(Failure::Refused("not_found".to_owned())),
            Given::Rows(_) | Given::Changed(_) => Ok(()),
        }
    }

    fn move_on(&mut self) {
        self.open = None;
    }
}

/// What load is put on.
pub(super) fn target(postgres: &Postgres, ask: Ask) -> Documents {
    Documents { config: postgres.config(), ask }
}

/// Makes the table.
pub(super) async fn create(postgres: &Postgres) -> Result<()> {
    let table = "CREATE TABLE cities (id text PRIMARY KEY, doc jsonb NOT NULL)";
    Ok(postgres.connect().await?.batch_execute(table).await?)
}

/// Makes the indexes.
pub(super) async fn index(postgres: &Postgres) -> Result<()> {
    let client = postgres.connect().await?;
    for (field, expression) in INDEXED {
        client.batch_execute(&format!("CREATE INDEX cities_{field} ON cities ({expression})")).await?;
    }
    Ok(())
}

/// Does at once what it would do by itself at some time.
pub(super) async fn tidy(postgres: &Postgres) -> Result<()> {
    let client = postgres.connect().await?;
    // Each by itself: a vacuum cannot be part of a transaction, and several statements in one text are one.
    client.batch_execute("VACUUM (ANALYZE) cities").await?;
    Ok(client.batch_execute("CHECKPOINT").await?)
}

/// Asks once, and reads the answer.
pub(super) async fn answer(postgres: &Postgres, question: &Question) -> Result<Answer> {
    let mut open = Open { client: postgres.connect().await?, prepared: None };
    let rows = match open.ask(question.clone()).await? {
        Given::Changed(changed) => return Ok(Answer::Number(changed)),
        Given::Rows(rows) => rows,
    };
    Ok(match question {
        Question::Count { .. } | Question::CountAll => {
            let count: i64 = rows.first().context("no count")?.try_get(0)?;
            Answer::Number(count.unsigned_abs())
        }
        Question::Group => {
            let group = |row: &Row| {
                let figures = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
                Ok((row.try_get::<_, String>(0)?, figures))
            };
            Answer::Groups(rows.iter().map(group).collect::<Result<_, tokio_postgres::Error>>()?)
        }
        _ => {
            let document = |row: &Row| Ok(serde_json::from_str(row.try_get(0)?)?);
            Answer::Documents(rows.iter().map(document).collect::<Result<_>>()?)
        }
    })
}
