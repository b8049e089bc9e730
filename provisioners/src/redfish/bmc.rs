//! A controller that speaks Redfish.
//!
//! It is asked with a name and a password in each request, never in a session: controllers have a handful of those, and forget to
//! end them. And one request at a time: they are small computers.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::BASE64;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use self::resource::{Medium, System};
use super::controller::{Boot, Button, Controller, Credentials, Look};
use crate::http::{Http, Request, Response};
use crate::{Deadline, ProvisionError};

mod resource;

/// Virtual media that are looked through for one that takes images of disks.
const MEDIA_MAX: usize = 8;

/// The pause before a request is repeated that the controller has no room for.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

const SYSTEMS: &str = "/redfish/v1/Systems";

/// A controller, and the one system of it that is the node.
#[derive(Debug)]
pub(super) struct Bmc {
    http: Http,
    credentials: Credentials,
    /// The system's path, once it is known.
    system: OnceLock<String>,
    /// Whoever holds it is asking.
    turn: Mutex<()>,
}

impl Bmc {
    pub(super) fn new(http: Http, credentials: Credentials, system: Option<String>) -> Self {
        Self {
            http,
            credentials,
            system: system.map_or_else(OnceLock::new, OnceLock::from),
            turn: Mutex::new(()),
        }
    }

    async fn send(
        &self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<Response, ProvisionError> {
        let turn = deadline.limit("waiting for the controller", async {
            Ok(self.turn.lock().await)
        });
        // Nothing was asked yet, so nothing is unknown.
        let _turn = turn.await.map_err(|_| {
            ProvisionError::unavailable("the controller is still busy with an earlier request")
        })?;
        self.http.send(request, deadline).await
    }

    fn signed(&self, request: Request) -> Request {
        let request = request.header(reqwest::header::ACCEPT, "application/json");
        if self.credentials.username.is_empty() {
            return request;
        }
        let pair = format!(
            "{}:{}",
            self.credentials.username,
            self.credentials.password.expose()
        );
        let value = format!("Basic {}", BASE64.encode(pair.as_bytes()));
        request.secret_header(reqwest::header::AUTHORIZATION, &value)
    }

    async fn get(
        &self,
        what: &str,
        path: &str,
        deadline: Deadline,
    ) -> Result<Value, ProvisionError> {
        let request = self.signed(Request::get(what, path));
        let asked =
            || async { resource::unless_busy(self.send(&request, deadline).await?)?.accepted() };
        patient(deadline, asked).await?.json()
    }

    /// Changes something. What the controller has no room for now is asked for again; what it refuses is
    /// [`ProvisionError::Failed`].
    async fn change(&self, request: Request, deadline: Deadline) -> Result<(), ProvisionError> {
        let request = self.signed(request);
        let asked = || async {
            resource::judge(resource::unless_busy(self.send(&request, deadline).await?)?)
        };
        patient(deadline, asked).await
    }

    async fn system(&self, deadline: Deadline) -> Result<System, ProvisionError> {
        let path = match self.system.get() {
            Some(path) => path.clone(),
            None => {
                let list = self.get("listing the systems", SYSTEMS, deadline).await?;
                let path = resource::only_member(&list)?;
                self.system.get_or_init(|| path).clone()
            }
        };
        let value = self.get("looking at the system", &path, deadline).await?;
        Ok(System::read(&path, &value))
    }

    async fn patch(
        &self,
        system: &System,
        boot: Value,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let mut request = Request::new(
            "setting the boot order",
            reqwest::Method::PATCH,
            &system.path,
        )
        .json(&json!({ "Boot": boot }));
        if let Some(etag) = &system.etag {
            // Some refuse a change without it.
            request = request.header(reqwest::header::IF_MATCH, etag);
        }
        self.change(request, deadline).await
    }

    /// The medium that takes images of disks; `None` where there is none.
    async fn medium(
        &self,
        system: &System,
        deadline: Deadline,
    ) -> Result<Option<Medium>, ProvisionError> {
        let mut collection = system.media.clone();
        if let (None, Some(manager)) = (&collection, &system.manager) {
            let manager = self
                .get("looking at the manager", manager, deadline)
                .await?;
            collection = resource::link(&manager, "VirtualMedia");
        }
        let Some(collection) = collection else {
            return Ok(None);
        };
        let list = self
            .get("listing the virtual media", &collection, deadline)
            .await?;
        for path in resource::members(&list).into_iter().take(MEDIA_MAX) {
            let value = self
                .get("looking at a virtual medium", &path, deadline)
                .await?;
            let medium = Medium::read(&path, &value);
            if medium.takes_discs {
                return Ok(Some(medium));
            }
        }
        Ok(None)
    }

    async fn eject(&self, medium: &Medium, deadline: Deadline) -> Result<(), ProvisionError> {
        if !medium.is_inserted {
            return Ok(());
        }
        let what = "ejecting the virtual medium";
        let request = match &medium.eject {
            Some(target) => Request::post(what, target).json(&json!({})),
            None => Request::new(what, reqwest::Method::PATCH, &medium.path)
                .json(&json!({ "Image": null, "Inserted": false })),
        };
        self.change(request, deadline).await
    }

    async fn insert(
        &self,
        system: &System,
        image: &str,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let Some(medium) = self.medium(system, deadline).await? else {
            return Err(ProvisionError::Unsupported(
                "insert a virtual medium".to_owned(),
            ));
        };
        if medium.is_inserted && medium.image.as_deref() == Some(image) {
            return Ok(());
        }
        self.eject(&medium, deadline).await?;
        let what = "inserting the virtual medium";
        let body = json!({ "Image": image, "Inserted": true, "WriteProtected": true });
        let request = match &medium.insert {
            Some(target) => Request::post(what, target),
            None => Request::new(what, reqwest::Method::PATCH, &medium.path),
        };
        self.change(request.json(&body), deadline).await
    }

    /// Sets it back to what the firmware is set to. Nothing depends on it that [`Controller::set_boot`] does not say anew.
    async fn reset_boot(&self, system: &System, deadline: Deadline) -> Result<(), ProvisionError> {
        if let Some(medium) = self.medium(system, deadline).await? {
            self.eject(&medium, deadline).await?;
        }
        let usual =
            json!({ "BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None" });
        self.patch(system, usual, deadline).await
    }
}

#[async_trait]
impl Controller for Bmc {
    async fn look(&self, deadline: Deadline) -> Result<Look, ProvisionError> {
        Ok(self.system(deadline).await?.look)
    }

    async fn press(&self, button: Button, deadline: Deadline) -> Result<(), ProvisionError> {
        let system = self.system(deadline).await?;
        let kind = system
            .reset_type(button)
            .ok_or_else(|| ProvisionError::Unsupported(format!("press {button:?}")))?;
        let request = Request::post(format!("pressing {kind}"), &system.reset)
            .json(&json!({ "ResetType": kind }));
        self.change(request, deadline).await
    }

    async fn set_boot(&self, boot: &Boot, deadline: Deadline) -> Result<(), ProvisionError> {
        let system = self.system(deadline).await?;
        let once = |target: &str| json!({ "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": target });
        let wanted = match boot {
            Boot::Usual => return self.reset_boot(&system, deadline).await,
            Boot::Pxe => once("Pxe"),
            Boot::Disk => once("Hdd"),
            Boot::Http(address) => json!({
                "BootSourceOverrideEnabled": "Once",
                "BootSourceOverrideTarget": "UefiHttp",
                "BootSourceOverrideMode": "UEFI",
                "HttpBootUri": address.expose(),
            }),
            Boot::Media(image) => {
                self.insert(&system, image.expose(), deadline).await?;
                once("Cd")
            }
        };
        self.patch(&system, wanted.clone(), deadline).await?;
        let set = self.system(deadline).await?;
        if set.boots_as(&wanted) {
            return Ok(());
        }
        // Some take it only the second time; what the machine then does decides.
        tracing::debug!(
            ?boot,
            "a controller accepted a boot order and shows another one"
        );
        self.patch(&set, wanted, deadline).await
    }
}

/// Repeats what was certainly not done for want of room or sessions, until the deadline.
async fn patient<T, F>(deadline: Deadline, mut ask: impl FnMut() -> F) -> Result<T, ProvisionError>
where
    F: Future<Output = Result<T, ProvisionError>>,
{
    loop {
        let error = match ask().await {
            Err(error @ ProvisionError::Throttled { .. }) => error,
            ended => return ended,
        };
        let pause = match error {
            ProvisionError::Throttled {
                retry_after: Some(wait),
            } => wait.max(BUSY_PAUSE),
            _ => BUSY_PAUSE,
        };
        if pause >= deadline.remaining() || !deadline.sleep(pause).await {
            return Err(error);
        }
    }
}
