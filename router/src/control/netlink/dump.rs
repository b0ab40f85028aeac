//! Reads tables from the kernel.

use super::convert;
use super::events::Stale;
use crate::ip_route::{Family, IpPlan, RoutePlan, RulePlan};
use anyhow::{Context, anyhow, bail};
use futures_util::{Stream, StreamExt};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{Handle, IpVersion};
use std::pin::pin;
use std::time::Duration;

/// How long reading one table may take. A million routes take a few seconds.
const TABLE_MAX: Duration = Duration::from_secs(20);

/// A connection that tables are read by.
pub(super) fn connect() -> anyhow::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection().context("cannot open a netlink socket")?;
    // It ends when the handle goes.
    tokio::spawn(connection);
    Ok(handle)
}

/// Reads the tables that are `stale`; the others of the plan are empty.
pub(super) async fn read(handle: &Handle, stale: Stale) -> anyhow::Result<IpPlan> {
    let mut plan = IpPlan::default();
    if stale.links {
        plan.links = collect(handle.link().get().execute(), |m| convert::link(&m)).await.context("links")?;
        plan.links.sort_by_key(|link| link.index);
    }
    if stale.addresses {
        let messages = handle.address().get().execute();
        plan.addresses = collect(messages, |m| convert::address(&m)).await.context("addresses")?;
    }
    if stale.rules {
        plan.rules = rules(handle, Family::V4).await.context("IPv4 rules")?;
        plan.rules.append(&mut rules(handle, Family::V6).await.context("IPv6 rules")?);
    }
    if stale.routes {
        plan.routes = routes(handle, AddressFamily::Inet).await.context("IPv4 routes")?;
        plan.routes.append(&mut routes(handle, AddressFamily::Inet6).await.context("IPv6 routes")?);
    }
    if stale.neighbours {
        let messages = handle.neighbours().get().execute();
        plan.neighbours = collect(messages, |m| convert::neighbour(&m)).await.context("neighbours")?;
        plan.neighbours.sort_by_key(|neighbour| (neighbour.link, neighbour.address));
    }
    Ok(plan)
}

/// The routes of a family, of all tables.
async fn routes(handle: &Handle, family: AddressFamily) -> anyhow::Result<Vec<RoutePlan>> {
    let mut request = RouteMessage::default();
    request.header.address_family = family;
    // A kernel that does not know the family answers for all that it knows.
    let of_family = |m: RouteMessage| convert::route(&m).filter(|_| m.header.address_family == family);
    collect(handle.route().get(request).execute(), of_family).await
}

/// The rules of a family; those of a kernel without policy routing where it has none.
async fn rules(handle: &Handle, family: Family) -> anyhow::Result<Vec<RulePlan>> {
    let version = match family {
        Family::V4 => IpVersion::V4,
        Family::V6 => IpVersion::V6,
    };
    let messages = handle.rule().get(version).execute();
    let mut count = 0;
    let found = collect(messages, |m| {
        // As for routes.
        let is_of_family = convert::family(m.header.family) == Some(family);
        count += usize::from(is_of_family);
        convert::rule(&m).filter(|_| is_of_family)
    });
    let rules = found.await?;
    Ok(if count == 0 { RulePlan::defaults(family) } else { rules })
}

/// What `convert` makes of all messages of a table.
async fn collect<M, T>(
    messages: impl Stream<Item = Result<M, rtnetlink::Error>>,
    mut convert: impl FnMut(M) -> Option<T>,
) -> anyhow::Result<Vec<T>> {
    let mut messages = pin!(messages);
    let read = async {
        let mut found = Vec::new();
        while let Some(message) = messages.next().await {
            match message {
                Ok(message) => found.extend(convert(message)),
                Err(error) if is_unknown(&error) => return Ok(Vec::new()),
                Err(error) => bail!("cannot be read: {error}"),
            }
        }
        Ok(found)
    };
    tokio::time::timeout(TABLE_MAX, read).await.map_err(|_| anyhow!("not read within {TABLE_MAX:?}"))?
}

/// Whether the kernel has no such table, as for IPv6 where it is not built in.
fn is_unknown(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else { return false };
    [nix::libc::EOPNOTSUPP, nix::libc::EAFNOSUPPORT].contains(&message.raw_code().saturating_neg())
}
