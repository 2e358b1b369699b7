#!/bin/sh
# dehydrated, daily from cron or a timer on both hosts, in place of a bare `dehydrated --cron`.
# `--domain` takes one certificate out of domains.txt's order; nothing is done while it is good for
# a while (RENEW_DAYS). HOOK= in its configuration reloads the web server.
set -u
# cron looks in few places.
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin
node=${NODE:-$(hostname -f)}
status=0
for name in ${NAMES:-www.example.org}; do
	said=$(nsd-failover is-primary "$node" "$name" 2>&1)
	case $? in
	0) dehydrated --cron --domain "$name" || status=1 ;;
	1) ;; # the other host renews it, or will when it is its turn
	*) echo "renew: nsd-failover cannot say who serves $name: $said" >&2; status=1 ;;
	esac
done
exit "$status"
