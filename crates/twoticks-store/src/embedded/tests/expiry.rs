//! States become tombstones and tombstones go, and nothing that can be asked for changes by it.

use twoticks_core::clock::DAY;
use twoticks_core::event::{Button, ButtonKind, Status, TapEvent};
use twoticks_core::ids::Hash;

use super::generations::Still;
use super::*;

use crate::embedded::pieces::{Found, PIECE, Piece};
use crate::embedded::tables::FORMAT;
use crate::ledger::Kind;
use crate::snapshot::Header;
use crate::suite::told::{at, batch, message, opt_in, send, text};

/// How many days lie between two entries.
const APART: i64 = 3;
/// For longer than tombstones are kept.
const DAYS: i64 = 340;

fn day(day: i64) -> Time {
    at(0).plus(day * DAY)
}

/// What is told on a day: of a message and a tap of that day, and again of those of days before,
/// some of them within the horizon, some beyond it, some forgotten.
pub(super) fn told_on(today: i64) -> Batch {
    let of = |born: i64, status| {
        let hash = Hash(u128::try_from(born).unwrap().to_be_bytes());
        let about = message("a", 0, 0, Some(status));
        Event::Message(twoticks_core::event::MessageEvent {
            message: hash,
            time: day(born),
            ..about
        })
    };
    let tap = |born: i64| {
        Event::Tap(TapEvent {
            channel: ChannelId::new("a").unwrap(),
            number: message("a", 0, 0, None).number,
            id: Hash(u128::try_from(1_000_000 + born).unwrap().to_be_bytes()),
            time: day(born),
            button: Button { kind: ButtonKind::QuickReply, text: text("Yes") },
            message: Some(Hash(u128::try_from(born).unwrap().to_be_bytes())),
            sign: None,
        })
    };
    let mut events = vec![of(today, Status::Sent), tap(today), send("a", 1, 0), opt_in("a", 0)];
    for ago in [1, 15, 16, 44, 45, 48, 100, 222, 228, 270].map(|ago| ago / APART * APART) {
        if let Some(born) = today.checked_sub(ago).filter(|born| *born >= 0) {
            events.extend([of(born, Status::Delivered), tap(born)]);
        }
    }
    Batch { kind: Kind::Webhook, accepted: day(today), ..batch(events) }
}

/// Everything that is due.
pub(super) fn expire(still: &Still) {
    let latest = still.young.latest;
    let mut at = None;
    while still.shared.slot.with(|tables| tables.expire(&mut at, latest)).unwrap() {}
}

pub(super) fn commit(still: &mut Still) {
    if let Some(frozen) = still.freeze() {
        still.shared.commit(&frozen).unwrap();
    }
}

#[tokio::test]
async fn what_expires_changes_nothing_that_can_be_asked_for() {
    let mut still = Still::new();
    for today in (0..DAYS).step_by(usize::try_from(APART).unwrap()) {
        still.take(told_on(today)).await;
        commit(&mut still);
        expire(&still);
        if today % 30 == 0 {
            // As after a start: nothing is known but what the tables have.
            still.forget();
        }
        still.agrees("expired").await;
        assert_eq!(still.digest(), still.model.digest().await.unwrap(), "day {today}");
    }
    // What is over is gone: states of 45 days and the piece that is not over yet, and so on.
    let (pieces, tombstones) = still
        .shared
        .slot
        .with(|tables| Ok((tables.pieces().len(), tables.tombstones().len())))
        .unwrap();
    assert!((7..=8).contains(&pieces), "{pieces}");
    assert!((11..=13).contains(&tombstones), "{tombstones}");
}

#[tokio::test]
async fn a_snapshot_carries_tombstones_and_states_into_fresh_tables() {
    let mut still = Still::new();
    for today in (0..180).step_by(usize::try_from(APART).unwrap()) {
        still.take(told_on(today)).await;
        commit(&mut still);
    }
    expire(&still);
    let digest = still.digest();
    let rows = still.shared.slot.with(|tables| {
        let (pieces, snapshot) = tables.moment();
        let ids: Vec<_> = pieces.iter().map(Piece::id).collect();
        let from = (crate::digest::Table::Messages, [].as_slice());
        let rows = tables.rows(&snapshot, &ids, from)?;
        let rows =
            rows.map(|row| row.map(|(table, key, value)| (table, key.to_vec(), value.to_vec())));
        rows.collect::<Result<Vec<_>, _>>()
    });
    let rows = rows.unwrap();
    let of = |table| rows.iter().filter(|row| row.0 == table).count();
    assert!(of(crate::digest::Table::Tombstones) > 10);
    // From any row on it is the rest of the same.
    for index in [1, rows.len() / 2, rows.len() - 1] {
        let (table, key, _) = &rows[index];
        let rest = still.shared.slot.with(|tables| {
            let (pieces, snapshot) = tables.moment();
            let ids: Vec<_> = pieces.iter().map(Piece::id).collect();
            Ok(tables.rows(&snapshot, &ids, (*table, key))?.count())
        });
        assert_eq!(rest.unwrap(), rows.len() - index, "{table:?}");
    }
    let position = still.young.position;
    let times = (still.young.latest, still.young.latest);
    let header = Header::new(position, times, ("rules@1", FORMAT), &Keys::from_bytes([1; 32]));
    let mut fresh = Still::new();
    let filled = fresh.shared.slot.with(|tables| {
        tables.fill_rows(&mut rows.clone().into_iter().map(Ok))?;
        tables.stand_for(&header)
    });
    filled.unwrap();
    fresh.young = Young::new(&Memory::of(0), position, still.young.latest);
    assert_eq!(fresh.digest(), digest);
    // And both go on alike.
    for today in (180..260).step_by(usize::try_from(APART).unwrap()) {
        fresh.fold(&told_on(today)).unwrap();
        still.take(told_on(today)).await;
    }
    commit(&mut still);
    fresh.shared.committed.send_replace(position);
    commit(&mut fresh);
    assert_eq!(fresh.digest(), still.digest());
    assert_eq!(still.digest(), still.model.digest().await.unwrap());
}

#[tokio::test]
async fn what_is_cut_changes_no_more() {
    let mut still = Still::new();
    let pieces = |still: &Still| {
        let pieces = still.shared.slot.with(|tables| {
            let rows = |piece: &Piece| piece.messages.iter().count();
            Ok(tables.pieces().iter().map(|piece| (piece.id(), rows(piece))).collect::<Vec<_>>())
        });
        pieces.unwrap()
    };
    let cut = |still: &Still| still.shared.slot.with(Tables::cut).unwrap().pieces;
    still.take(told_on(2)).await;
    commit(&mut still);
    let [(first, rows)] = pieces(&still)[..] else { panic!("one piece") };
    assert_eq!(cut(&still), [first]);
    // The one that was begun has nothing in it, and what comes goes there.
    assert_eq!(cut(&still), [first]);
    still.take(told_on(3)).await;
    commit(&mut still);
    let second = (first.0, first.1 + 1);
    let [(newest, new), old] = pieces(&still)[..] else { panic!("two pieces") };
    assert_eq!((newest, old), (second, (first, rows)));
    // What is noted as sealed is not written to either, also if nothing was begun behind it.
    let part = crate::snapshot::Part { piece: second, sha256: [0; 32] };
    still.shared.slot.with(|tables| tables.note_sealed(&part)).unwrap();
    still.take(told_on(4)).await;
    commit(&mut still);
    let [(third, _), middle, old] = pieces(&still)[..] else { panic!("three pieces") };
    assert_eq!(third, (first.0, first.1 + 2));
    assert_eq!([middle, old], [(second, new), (first, rows)]);
    still.forget();
    still.agrees("cut").await;
    assert_eq!(still.digest(), still.model.digest().await.unwrap());
}

#[test]
fn a_tombstone_takes_at_most_sixteen_bytes_and_is_found_again() {
    use crate::digest::Table;
    use crate::embedded::tombstones::Fingerprint;
    let folder = tempfile::tempdir().unwrap();
    let tables = Tables::open(folder.path(), &Memory::of(0)).unwrap();
    tables.meta(folder.path(), None).unwrap();
    // Enough for every bucket to have some, told in two parts and some of them twice.
    let stones: Vec<_> = (0..200_000_u32)
        .map(|n| (Fingerprint::of(Table::Messages, &n.to_be_bytes()), day(0).plus(i64::from(n))))
        .collect();
    let epoch = day(0).0.div_euclid(PIECE);
    let put = |stones: &[_]| tables.bury(epoch, stones).unwrap();
    put(&stones[..120_000]);
    put(&stones[100_000..]);
    let rows = tables.tombstones().iter().map(|it| it.bytes().unwrap()).sum::<usize>();
    assert!(rows <= stones.len() * 16, "{rows} bytes of {} tombstones", stones.len());
    for n in (0..200_000_u32).step_by(997) {
        let found = tables.message(&n.to_be_bytes()).unwrap();
        let Some(Found::Tombstone(touched)) = found else { panic!("{n} has no tombstone") };
        assert_eq!(touched, day(0).plus(i64::from(n)));
    }
    assert!(tables.message(b"another").unwrap().is_none());
}
