//! hickory-server as its documentation shows it: its file store, its catalog, its UDP server. Why
//! this program answers by other means is a matter of figures.

use std::sync::Arc;

use hickory_proto::rr::Name;
use hickory_server::Server;
use hickory_server::store::file::{FileConfig, FileZoneHandler};
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};

/// Serves the zone file at `path` over UDP. Never returns.
pub fn run(address: &str, origin: &str, path: &str) -> ! {
    // As many workers as there are cores to run on, which is what `tokio::main` gives.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let origin = Name::from_ascii(format!("{origin}.")).expect("a name");
        let config = FileConfig { zone_path: path.into() };
        let zone = FileZoneHandler::try_from_config(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny, None, &config);
        let mut catalog = Catalog::new();
        catalog.upsert(origin.into(), vec![Arc::new(zone.expect("a zone"))]);
        let mut server = Server::new(catalog);
        server.register_socket(tokio::net::UdpSocket::bind(address).await.expect("a free address"));
        server.block_until_done().await.expect("it serves");
    });
    unreachable!("it serves for ever")
}
