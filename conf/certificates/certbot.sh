#!/bin/sh
# certbot, twice a day from cron or a timer on both hosts, in place of its own
# (`systemctl disable --now certbot.timer`): a pre hook that fails does not stop it.
# `renew` does nothing while a certificate is good for a while.
set -u
# cron looks in few places.
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin
node=${NODE:-$(hostname -f)}
status=0
for name in ${NAMES:-www.example.org}; do
	said=$(nsd-failover is-primary "$node" "$name" 2>&1)
	case $? in
	0) certbot renew --quiet --cert-name "$name" --deploy-hook "systemctl reload nginx" || status=1 ;;
	1) ;; # the other host renews it, or will when it is its turn
	*) echo "renew: nsd-failover cannot say who serves $name: $said" >&2; status=1 ;;
	esac
done
exit "$status"
