//! Where applications are served.
//!
//! In: an application, a port. Out: whether its servers usually listen there and its clients never send from there. It
//! says who serves in a flow whose beginning was not seen; applications whose ends are alike (NTP, DHCP, SIP, peers)
//! are deliberately absent.

use weir_common::app::App;

/// Whether servers of the application usually listen at the port (IANA's service names and port numbers).
pub(super) fn is_served_at(app: App, port: u16) -> bool {
    let ports: &[u16] = match app {
        App::Dns => &[53],
        App::Llmnr => &[5355],
        App::Http | App::Http2 | App::WebSocket => &[80, 8000, 8080],
        App::Tls | App::Quic => &[443, 853, 993, 995, 8443],
        App::Ssh => &[22],
        App::Smtp => &[25, 465, 587],
        App::Imap => &[143],
        App::Pop3 => &[110],
        App::Ftp => &[21],
        App::Nfs => &[2049],
        App::Telnet => &[23],
        // A port for each display.
        App::Rfb => &[5900, 5901, 5902, 5903, 5904, 5905],
        App::Rdp => &[3389],
        App::Smb => &[139, 445],
        App::DceRpc => &[135],
        App::Krb5 => &[88],
        App::Ldap => &[389],
        App::Snmp => &[161],
        App::Mysql => &[3306],
        App::Pgsql => &[5432],
        App::Tds => &[1433],
        App::MsSqlM => &[1434],
        App::Redis => &[6379],
        App::Memcached => &[11211],
        App::Mongodb => &[27017],
        App::Tns => &[1521],
        App::Drda => &[446, 1527, 50_000],
        App::Irc => &[6667],
        App::Nats => &[4222],
        App::Gearman => &[4730],
        App::Zabbix => &[10_050, 10_051],
        App::Rsync => &[873],
        App::Pptp => &[1723],
        App::Mqtt => &[1883],
        App::Modbus | App::S7comm | App::Dnp3 | App::Enip | App::Iec104 => &[102, 502, 2404, 20000, 44818],
        _ => &[],
    };
    ports.contains(&port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_their_ports_and_peers_have_none() {
        assert!(is_served_at(App::Dns, 53) && is_served_at(App::Dnp3, 20000));
        assert!(
            !is_served_at(App::Dns, 5353) && !is_served_at(App::Ntp, 123) && !is_served_at(App::Unknown, 0)
        );
    }
}
