//! Who gets how many lines of the screen.

/// The heights of the parts, from top to bottom; together the height of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heights {
    pub(super) head: u16,
    pub(super) groups: u16,
    pub(super) machines: u16,
    pub(super) decisions: u16,
    pub(super) events: u16,
    pub(super) foot: u16,
}

/// Lines that are there whatever happens: two at the top, one at the bottom.
const HEAD: u16 = 2;
const FOOT: u16 = 1;
/// So many decisions are shown even where events have to give way.
const DECISIONS_MIN: u16 = 2;
/// More than these push events away for little.
const DECISIONS_MAX: u16 = 6;
/// The heading of each part and the blank line after it.
const AROUND: u16 = 2;

/// Shares `height` lines among parts that would like to show so many rows each. Groups and machines come first, then
/// the last decisions; events get what is left.
pub(super) fn share(height: u16, groups: usize, machines: usize, decisions: usize) -> Heights {
    let rows = |count: usize| {
        u16::try_from(count)
            .unwrap_or(u16::MAX)
            .saturating_add(AROUND)
    };
    let mut left = height;
    let mut take = |wanted: u16| {
        let taken = wanted.min(left);
        left -= taken;
        taken
    };
    let foot = take(FOOT);
    let head = take(HEAD);
    let body = height.saturating_sub(FOOT + HEAD);
    // A third for groups, which are few, and half for machines; what one doesn't need, the next one may have.
    let groups = take(rows(groups).min(body / 3));
    let reserved = (DECISIONS_MIN + AROUND).min(body / 4);
    let machines = take(rows(machines).min((body - groups).saturating_sub(reserved)));
    let wanted = u16::try_from(decisions)
        .unwrap_or(u16::MAX)
        .clamp(1, DECISIONS_MAX)
        + AROUND;
    let decisions = take(wanted.min((body - groups - machines).div_ceil(2).max(reserved)));
    let events = take(u16::MAX);
    Heights {
        head,
        groups,
        machines,
        decisions,
        events,
        foot,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_fleet_fits_a_small_terminal() {
        let heights = share(24, 2, 5, 3);
        assert_eq!((heights.groups, heights.machines), (4, 7), "{heights:?}");
        assert!(heights.decisions >= 4 && heights.events >= 4, "{heights:?}");
    }

    proptest! {
        #[test]
        fn all_lines_are_given_out_once(height: u16, groups in 0..1000usize, machines in 0..20_000usize, decisions in 0..1000usize) {
            let Heights { head, groups, machines, decisions, events, foot } =
                share(height, groups, machines, decisions);
            let sum: u32 = [head, groups, machines, decisions, events, foot].into_iter().map(u32::from).sum();
            prop_assert_eq!(sum, u32::from(height));
        }
    }
}
