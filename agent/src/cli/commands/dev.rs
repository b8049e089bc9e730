//! `muster dev`.

use super::{Context, Failure};
use crate::cli::args::{DevArgs, DevCommand};
use crate::dev::{self, DevOptions};

pub(super) async fn run(context: &Context<'_>, args: DevArgs) -> Result<(), Failure> {
    let out = context.out;
    match args.command {
        None => {
            let DevArgs {
                place,
                machines,
                files,
                ..
            } = args;
            dev::run(
                DevOptions {
                    dir: place.dir,
                    files,
                    machines,
                },
                out,
            )
            .await
        }
        Some(DevCommand::Start { name, place }) => dev::start(&place.dir, &name, out).await,
        Some(DevCommand::Stop { name, place }) => dev::stop(&place.dir, &name, out).await,
        Some(DevCommand::List { place }) => dev::list(&place.dir, out).await,
        Some(DevCommand::Clean { yes, place }) => {
            dev::clean(&place.dir, out, |question| {
                context.confirm_unless(yes, question)
            })
            .await
        }
    }
}
