//! `muster token` and `muster operator`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Context, Failure, show, unexpected};
use crate::api::types::{
    OperatorCreated, OperatorRequest, Request, Response, TokenCreated, TokenRequest,
};
use crate::cli::args::{OperatorCommand, TokenCommand};
use crate::cli::remote::IDENTITY_NAME;
use crate::cli::time;

pub(super) async fn token(context: &Context<'_>, command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create {
            ttl,
            uses,
            group,
            note,
        } => {
            let request = TokenRequest {
                ttl_ms: Some(milliseconds(ttl)),
                uses,
                group,
                note,
            };
            match context.call(&Request::TokenCreate(request)).await? {
                Response::TokenCreated(token) => token_created(context, &token),
                _ => Err(unexpected()),
            }
        }
        TokenCommand::List => match context.call(&Request::TokenList).await? {
            Response::Tokens(tokens) => context.out.either(&tokens, show::tokens),
            _ => Err(unexpected()),
        },
        TokenCommand::Revoke { id } => context.order(&Request::TokenRevoke { id }).await,
    }
}

/// Only the token goes to standard output, so that scripts can take it from there.
fn token_created(context: &Context<'_>, token: &TokenCreated) -> Result<(), Failure> {
    context.out.either(token, |token, _| token.token.clone())?;
    if !context.out.json {
        let addresses: Vec<_> = token.addresses.iter().map(ToString::to_string).collect();
        let ends = time::until(token.expires_ms, context.out.now_ms);
        eprintln!(
            "token {} for {} machines, ends {ends}; it is not shown again",
            token.id, token.uses
        );
        eprintln!(
            "on the new machine: muster join {} --token TOKEN",
            addresses.join(" ")
        );
    }
    Ok(())
}

pub(super) async fn operator(
    context: &Context<'_>,
    command: OperatorCommand,
) -> Result<(), Failure> {
    match command {
        OperatorCommand::Create { name, ttl, out } => {
            create_operator(context, name, ttl, out).await
        }
        OperatorCommand::List => match context.call(&Request::OperatorList).await? {
            Response::Operators(operators) => context.out.either(&operators, show::operators),
            _ => Err(unexpected()),
        },
        OperatorCommand::Revoke { name } => context.order(&Request::OperatorRevoke { name }).await,
    }
}

async fn create_operator(
    context: &Context<'_>,
    name: String,
    ttl: Duration,
    out: Option<PathBuf>,
) -> Result<(), Failure> {
    let to_stdout = context.out.json || out.as_deref() == Some(Path::new("-"));
    let path = match out {
        Some(directory) if directory.is_dir() => directory.join(IDENTITY_NAME),
        Some(file) => file,
        None => PathBuf::from(format!("{name}.pem")),
    };
    // Before the certificate is made: one whose key was lost on the way would only have to be revoked.
    let file = if to_stdout {
        None
    } else {
        Some(create_private(&path)?)
    };
    let request = OperatorRequest {
        name,
        ttl_ms: Some(milliseconds(ttl)),
    };
    let answer = context.call(&Request::OperatorCreate(request)).await;
    let operator = match answer {
        Ok(Response::OperatorCreated(operator)) => operator,
        other => {
            if file.is_some() {
                // It is empty and ours; that it stays would only be untidy.
                let _ = std::fs::remove_file(&path);
            }
            return Err(other.err().unwrap_or_else(unexpected));
        }
    };
    let Some(mut file) = file else {
        return context
            .out
            .either(&operator, |operator, _| operator.pem.clone());
    };
    file.write_all(operator.pem.as_bytes())?;
    file.sync_all()?;
    let OperatorCreated {
        name, expires_ms, ..
    } = operator;
    let ends = time::until(expires_ms, context.out.now_ms);
    context.out.text(&format!(
        "{} holds the certificate and key of operator {name}, ends {ends}\n\
         use it with: muster --identity {} --node ADDR status",
        path.display(),
        path.display()
    ))
}

/// A new file that only its owner can read.
fn create_private(path: &Path) -> Result<std::fs::File, Failure> {
    let mut options = std::fs::OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| {
            Failure::other(format!(
                "can't make {}: {error}; name another file with --out",
                path.display()
            ))
        })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
