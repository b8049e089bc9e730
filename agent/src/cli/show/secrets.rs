//! `muster token list` and `operator list`.

use super::super::grid::{Grid, bold, dim, maybe, plain};
use super::super::output::{Output, Tone};
use super::super::time;
use super::answered;
use crate::api::types::{Listed, OperatorRow, TokenRow};

/// All tokens, without their secrets.
pub(in crate::cli) fn tokens(tokens: &Listed<TokenRow>, out: &Output) -> String {
    let mut grid = Grid::new(
        out.paint,
        &["TOKEN", "STATE", "ENDS", "USED", "LEFT", "GROUP", "NOTE"],
    );
    for token in &tokens.items {
        let tone = if token.state == "valid" {
            Tone::Good
        } else {
            Tone::Dim
        };
        grid.row([
            bold(&token.id),
            (tone, token.state.clone()),
            plain(time::until(token.expires_ms, out.now_ms)),
            plain(token.used),
            plain(token.uses_left),
            maybe(token.group.as_ref()),
            dim(&token.note),
        ]);
    }
    grid.render("no tokens") + &answered(&tokens.as_of, out)
}

/// All operators.
pub(in crate::cli) fn operators(operators: &Listed<OperatorRow>, out: &Output) -> String {
    let mut grid = Grid::new(out.paint, &["OPERATOR", "SINCE", "ENDS", "STATE"]);
    for operator in &operators.items {
        let state = if operator.revoked {
            (Tone::Bad, "revoked".to_owned())
        } else if operator.expires_ms <= out.now_ms {
            (Tone::Dim, "expired".to_owned())
        } else {
            (Tone::Good, "valid".to_owned())
        };
        grid.row([
            bold(&operator.name),
            dim(time::age(operator.created_ms, out.now_ms)),
            plain(time::until(operator.expires_ms, out.now_ms)),
            state,
        ]);
    }
    grid.render("no operators") + &answered(&operators.as_of, out)
}
