#!/bin/sh
# acme-client (OpenBSD), daily from cron on both hosts: `~ ~ * * * /usr/local/libexec/renew`.
# Renews each certificate on the host that its name points to: only that one the authority reaches.
# acme-client ends with 0 when a certificate is new, with 2 when the old one is good for a while.
set -u
# cron looks in few places.
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin
status=0
node=${NODE:-$(hostname)}
reload=
for name in ${NAMES:-www.example.org}; do
	said=$(nsd-failover is-primary "$node" "$name" 2>&1)
	case $? in
	0)
		acme-client "$name"
		case $? in
		0) reload=yes ;;
		2) ;;
		*) echo "renew: acme-client $name has failed" >&2; status=1 ;;
		esac
		;;
	1) ;; # the other host renews it, or will when it is its turn
	*) echo "renew: nsd-failover cannot say who serves $name: $said" >&2; status=1 ;;
	esac
done
[ -z "$reload" ] || rcctl reload httpd
exit "$status"
