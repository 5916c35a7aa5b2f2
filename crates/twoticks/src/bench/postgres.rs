//! PostgreSQL as a user would use it (P1): a transaction per batch that keeps what it has not seen
//! and adds what is new to the totals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

use super::feed::{Fact, Names, Spec};
use super::meter::Times;
use super::peers::{self, Peer, Queue};

/// How often the query is asked.
const QUERIES: usize = 100;

const NO_TABLES: &str = "drop table if exists bench_seen, bench_numbers, bench_templates";

const TABLES: &str = "
create table bench_seen (id uuid, what int2, primary key (id, what));
create table bench_numbers (
    channel text, number text, atom int4,
    accepted int8 not null, sent int8 not null, delivered int8 not null, read int8 not null,
    played int8 not null, failed int8 not null, taps int8 not null,
    primary key (channel, number, atom));
create table bench_templates (
    channel text, code text, language text, atom int4,
    accepted int8 not null, sent int8 not null, delivered int8 not null, read int8 not null,
    played int8 not null, failed int8 not null,
    primary key (channel, code, language, atom));";

/// Rows are taken in the order of their keys, so that transactions that meet seldom wait for each
/// other in a circle.
const BATCH: &str = "
with told as (
    select distinct on (id, what) * from unnest(
        $1::uuid[], $2::int2[], $3::int4[], $4::text[], $5::text[], $6::text[], $7::text[])
        as told (id, what, atom, channel, number, code, language)
    order by id, what
), fresh as (
    insert into bench_seen (id, what) select id, what from told
    on conflict do nothing returning id, what
), news as materialized (
    select told.* from told join fresh using (id, what)
), numbers as (
    insert into bench_numbers as n
    select channel, number, atom, count(*) filter (where what = 0),
        count(*) filter (where what = 1), count(*) filter (where what = 2),
        count(*) filter (where what = 3), count(*) filter (where what = 4),
        count(*) filter (where what = 5), count(*) filter (where what = 6)
    from news group by channel, number, atom order by channel, number, atom
    on conflict (channel, number, atom) do update set
        accepted = n.accepted + excluded.accepted, sent = n.sent + excluded.sent,
        delivered = n.delivered + excluded.delivered, read = n.read + excluded.read,
        played = n.played + excluded.played, failed = n.failed + excluded.failed,
        taps = n.taps + excluded.taps
)
insert into bench_templates as t
select channel, code, language, atom, count(*) filter (where what = 0),
    count(*) filter (where what = 1), count(*) filter (where what = 2),
    count(*) filter (where what = 3), count(*) filter (where what = 4),
    count(*) filter (where what = 5)
from news where code is not null
group by channel, code, language, atom order by channel, code, language, atom
on conflict (channel, code, language, atom) do update set
    accepted = t.accepted + excluded.accepted, sent = t.sent + excluded.sent,
    delivered = t.delivered + excluded.delivered, read = t.read + excluded.read,
    played = t.played + excluded.played, failed = t.failed + excluded.failed";

const COUNTED: &str = "
select coalesce(sum(accepted + sent + delivered + read + played + failed + taps), 0)::int8
from bench_numbers";

const QUERY: &str = "
select atom / 96, sum(sent)::int8, sum(delivered)::int8, sum(read)::int8 from bench_templates
where channel = $1 and code = $2 and language = $3 group by 1 order by 1";

/// A connection, and the task that drives it.
struct Connection {
    client: Client,
    _driver: JoinSet<()>,
}

async fn connect(dsn: &str) -> Result<Connection> {
    let (client, connection) =
        tokio_postgres::connect(dsn, NoTls).await.context("cannot connect to PostgreSQL")?;
    let mut driver = JoinSet::new();
    // What ends it is told to whoever asks next.
    driver.spawn(async move { drop(connection.await) });
    Ok(Connection { client, _driver: driver })
}

/// Makes the tables and feeds them.
pub(super) async fn measure(spec: &Spec, dsn: &str, connections: usize) -> Result<Peer> {
    let (names, batches) = peers::batches(spec)?;
    let events = batches.iter().map(|batch| batch.len() as u64).sum();
    let one = connect(dsn).await?;
    one.client.batch_execute(NO_TABLES).await.context("cannot remove old tables")?;
    one.client.batch_execute(TABLES).await.context("cannot make the tables")?;
    let (waits, took) = peers::drive(batches, connections, |queue| {
        let (names, dsn) = (Arc::clone(&names), dsn.to_owned());
        async move { take(&dsn, &names, &queue).await }
    })
    .await?;
    let counted: i64 = one.client.query_one(COUNTED, &[]).await?.get(0);
    let query = ask(&one.client, &names).await?;
    one.client.batch_execute(NO_TABLES).await?;
    Ok(Peer {
        connections,
        events,
        events_per_s: events as f64 / took.as_secs_f64(),
        acknowledged: waits,
        counted: counted.cast_unsigned(),
        query,
    })
}

async fn take(dsn: &str, names: &Names, queue: &Queue) -> Result<Vec<Duration>> {
    let connection = connect(dsn).await?;
    let settings = "set synchronous_commit = on; set plan_cache_mode = force_generic_plan";
    connection.client.batch_execute(settings).await?;
    let statement = connection.client.prepare(BATCH).await?;
    let mut waits = Vec::new();
    while let Some(facts) = peers::next(queue) {
        let begun = Instant::now();
        while let Err(error) = record(&connection.client, &statement, names, &facts).await {
            if error.code() != Some(&SqlState::T_R_DEADLOCK_DETECTED) {
                return Err(error).context("PostgreSQL refused a batch");
            }
        }
        waits.push(begun.elapsed());
    }
    Ok(waits)
}

async fn record(
    client: &Client,
    statement: &Statement,
    names: &Names,
    facts: &[Fact],
) -> Result<u64, tokio_postgres::Error> {
    let column = |of: fn(&Names, &Fact) -> Option<String>| -> Vec<Option<String>> {
        facts.iter().map(|fact| of(names, fact)).collect()
    };
    let ids: Vec<Uuid> =
        facts.iter().map(|fact| Uuid::from_u64_pair(fact.id[0], fact.id[1])).collect();
    let what: Vec<i16> = facts.iter().map(|fact| i16::from(fact.what)).collect();
    let atoms: Vec<i32> = facts.iter().map(Fact::atom).collect();
    let channel = column(|names, fact| Some(names.number(fact).0.clone()));
    let number = column(|names, fact| Some(names.number(fact).1.clone()));
    let code = column(|names, fact| names.template(fact).map(|it| it.1.clone()));
    let language = column(|names, fact| names.template(fact).map(|it| it.2.clone()));
    client.execute(statement, &[&ids, &what, &atoms, &channel, &number, &code, &language]).await
}

async fn ask(client: &Client, names: &Names) -> Result<Times> {
    let statement = client.prepare(QUERY).await?;
    let first = names.templates.first().context("a stream has templates")?;
    let mut waits = Vec::new();
    for _ in 0..QUERIES {
        let begun = Instant::now();
        client.query(&statement, &[&first.0, &first.1, &first.2]).await?;
        waits.push(begun.elapsed());
    }
    Ok(Times::of(waits))
}
