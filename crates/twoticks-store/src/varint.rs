//! Numbers in as few bytes as they need: LEB128, zigzag where they may be negative.

/// Puts `value` behind `out`.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Takes a value from the beginning of `rest`; `None` if there is none.
#[inline]
pub(crate) fn get(rest: &mut &[u8]) -> Option<u64> {
    // Most have one byte.
    if let Some((&byte @ ..0x80, behind)) = rest.split_first() {
        *rest = behind;
        return Some(byte.into());
    }
    get_long(rest)
}

fn get_long(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// As [`put`], for what may be negative.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, (value << 1 ^ value >> 63).cast_unsigned());
}

/// As [`get`], for what may be negative.
#[inline]
pub(crate) fn get_signed(rest: &mut &[u8]) -> Option<i64> {
    let value = get(rest)?;
    Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_number_comes_back_and_leaves_the_rest(value: u64, signed: i64) {
            let mut out = Vec::new();
            put(&mut out, value);
            put_signed(&mut out, signed);
            out.push(7);
            let mut rest = out.as_slice();
            prop_assert_eq!(get(&mut rest), Some(value));
            prop_assert_eq!(get_signed(&mut rest), Some(signed));
            prop_assert_eq!(rest, &[7]);
        }

        #[test]
        fn rubbish_is_a_number_or_none(rubbish: Vec<u8>) {
            let mut rest = rubbish.as_slice();
            let _ = get(&mut rest);
        }
    }

    #[test]
    fn what_is_cut_or_too_long_is_none() {
        for bytes in [&[][..], &[0x80], &[0xff; 10], &[0xff; 11]] {
            assert_eq!(get(&mut &*bytes), None, "{bytes:?}");
        }
    }
}
