//! The clock.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use twoticks_core::clock::{Clock as _, Time};

use super::{Answer, Around, NotDone, Question};
use crate::clock::{NotTurned, SPEED_MAX};
use crate::parameters::{Instant, While, number, whether};
use crate::whatsapp::Delivered;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    now: Option<Instant>,
    advance: Option<While>,
    #[serde(default, deserialize_with = "number")]
    speed: Option<u64>,
    #[serde(default, deserialize_with = "whether")]
    flush: bool,
}

pub(super) async fn clock(around: Around, question: Question) -> Answer {
    let whatsapp = &around.emulator.whatsapp;
    let turn: Turn = question.read()?;
    if !question.is_post {
        let asks = turn.now.is_some() || turn.advance.is_some() || turn.speed.is_some();
        if asks || turn.flush {
            return Err(NotDone::Asked("turning the clock is a POST".to_owned()));
        }
        return Ok(shown(&around, None));
    }
    if turn.now.is_some() && turn.advance.is_some() {
        return Err(NotDone::Asked("`now` and `advance` exclude each other".to_owned()));
    }
    let refused = |why: NotTurned| match why {
        NotTurned::Back { .. } => NotDone::Conflict(why.to_string()),
        NotTurned::TooFar { .. } | NotTurned::TooFast { .. } => NotDone::Asked(why.to_string()),
    };
    let speed = turn.speed.map(|speed| u32::try_from(speed).unwrap_or(u32::MAX));
    if speed.is_some_and(|speed| speed > SPEED_MAX) {
        return Err(refused(NotTurned::TooFast { asked: speed.unwrap_or(u32::MAX) }));
    }
    let mut delivered = match (turn.now, turn.advance) {
        (Some(Instant(target)), _) => Some(whatsapp.advance(target).await.map_err(refused)?),
        (None, Some(While(milliseconds))) => {
            Some(whatsapp.advance_by(milliseconds).await.map_err(refused)?)
        }
        (None, None) => None,
    };
    if turn.flush {
        delivered = Some(whatsapp.flush().await.map_err(refused)?);
    }
    if let Some(speed) = speed {
        whatsapp.speed_up(speed).map_err(refused)?;
    }
    Ok(shown(&around, delivered))
}

/// What the clock shows; after a turn also what was told on the way.
pub(super) fn shown(around: &Around, delivered: Option<Delivered>) -> Value {
    let whatsapp = &around.emulator.whatsapp;
    let (pending, next, last) = whatsapp.pending();
    let now = whatsapp.clock().now();
    let mut shown = json!({
        "now": now.0, "time": time(now), "speed": whatsapp.clock().speed(),
        "pending": pending, "next_due": next.map(|it| it.0), "last_due": last.map(|it| it.0),
    });
    if let Some(Delivered { bodies, updates, refused }) = delivered
        && let Some(fields) = shown.as_object_mut()
    {
        let told = json!({"webhooks": bodies, "updates": updates, "refused": refused});
        fields.insert("delivered".to_owned(), told);
    }
    shown
}

fn time(time: Time) -> String {
    Timestamp::from_millisecond(time.0).map_or_else(|_| String::new(), |it| it.to_string())
}
