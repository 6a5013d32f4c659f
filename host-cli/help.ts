/** What `vmmessage --help` says beyond the list of options. */
import { exitCodesText } from "../shared/cli/exit-codes-text.ts";

export const USAGE = `[-u USER] [-p PASSWORD] [-h HOST] -v VM -k KEY -V VALUE [-k KEY2 -V VALUE2 ...]
       vmmessage [-u USER] [-p PASSWORD] [-h HOST] -v VM -q KEY
       vmmessage COMMAND -v VM [...]`;

export const DESCRIPTION =
  "Sends key/value messages to virtual machines and asks for those they hold, without a network in them.";

const EXAMPLES = `Examples:
  vmmessage -v web1 -k com.example.role -V frontend
  vmmessage -v web1 -q com.example.ready
  vmmessage -v web1 -k host -V db1 -k port -V 5432            two keys in one atomic change
  vmmessage -v web1 --value-file cert=server.der              any bytes, out of a file
  pass show db | vmmessage -v web1 --value-stdin db.password --secret
  vmmessage list com.example. -v web1
  vmmessage wait com.example.ready -v web1 --timeout 5m
  vmmessage watch -v web1 --json
  vmmessage -v web1 -k job -V 42 --wait-ack --timeout 1h      till a program in the guest acknowledges it
  vmmessage -v web1 -k job -V 42 --message-id 0123456789abcdef0123456789abcdef    again: it has one effect
  vmmessage bootstrap -v web1 --file web1.yaml                a whole set of keys; follows how the guest configures itself
  vmmessage doctor -v web1                                    what is missing when nothing answers
  vmmessage check -v web1 --cpu 80,90 --disk 85,95            for Nagios: one line, and exit codes of its own
  vmmessage attach -v web1                                    gives a libvirt domain its channel

Through a manager (vmmessaged):
  vmmessage -v 'web*' -k com.example.role -V frontend         many VMs, one line for each
  vmmessage --vms-from racks.txt -q com.example.ready --json
  vmmessage -v web1 -k job -V 42 --expires 1h                 waits for a VM that is away, an hour at most
  vmmessage -u admin -p - -h manager.example.com -v web1 -q com.example.ready
  vmmessage vms                                               with --everywhere those of all hosts
  vmmessage monitor                                           how the guests are, those with problems first

Events:
  vmmessage events -v web1 --follow                           what happens to a VM and its keys
  vmmessage subscription add dns --type 'VM.*' --endpoint https://hooks.example.com/dns --new-secret
  vmmessage save -v web1 --to /srv/images --wait              its disk image, when it has shut down`;

const FINDING = `Which way a message takes:
  --socket, --socket-dir, --connect, --direct    straight to the VM's channel
  -h HOST[:PORT]      the manager on that host, over HTTPS; VMMESSAGE_HOST names it too
  otherwise           the manager on this host where one listens: --manager PATH, VMMESSAGE_MANAGER,
                      /run/vmmessage/manager.sock or $XDG_RUNTIME_DIR/vmmessage/manager.sock;
                      without one straight to the VM's channel

Where the VM's channel is looked for, the first that is given:
  --socket PATH       the Unix socket of the channel itself
  --socket-dir DIR    DIR/VM.sock, DIR/VM or DIR/VM/org.vmmessage.agent.0; VMMESSAGE_SOCKET_DIR names DIR too
  libvirt             the channel named org.vmmessage.agent.0 of the domain, through virsh [-c URI]

Who asks the manager, the first that is given:
  -u USER and -p, --token-file PATH
  VMMESSAGE_USER and VMMESSAGE_PASSWORD, or VMMESSAGE_TOKEN
  ~/.config/vmmessage/credentials, which only its owner may read:
                      {"local": {"token": "..."}, "HOST:PORT": {"user": "...", "password": "...", "fingerprint": "..."}}
  nobody              the manager's socket stands for a user then`;

/** Examples for the commands that need them, by their words. */
export const COMMAND_EXAMPLES: Readonly<Record<string, string>> = {
  vms: `Examples:
  vmmessage vms
  vmmessage vms 'web*' --json
  vmmessage vms --everywhere                                  of all hosts whose managers share a broker

Exit code 7 when a manager of another host did not answer; the others' VMs are listed.`,
  check: `Examples:
  vmmessage check -v web1                                     whether it answers, and is healthy
  vmmessage check -v web1 --cpu 90 --memory 80,90             critical; warning and critical
  vmmessage check -v web1 --disk 80,90 --disk /var=70,85      every disk, and one of them by itself
  vmmessage check -v web1 --load 4,8 --applications

Thresholds are CRITICAL or WARNING,CRITICAL; a value at or over one raises the alarm. It prints one line,
VMMESSAGE STATE - TEXT|PERFDATA, as the Monitoring Plugins Development Guidelines have it.

Exit codes of a check, in place of those of other commands:
  0  OK
  1  WARNING
  2  CRITICAL  also a guest that does not answer or does not run
  3  UNKNOWN   it could not be found out: no such VM, no manager, wrong usage, the channel held by another client`,
  bootstrap: `Examples:
  vmmessage bootstrap -v web1 --file web1.yaml
  vmmessage bootstrap -v web1 --file web1.yaml --set com.example.web.port=8081 --timeout 20m
  vmmessage bootstrap -v web1 --secret com.example.db.password --secret-file com.example.api-token=token
  vmmessage bootstrap -v web1 --commit 2026-11-20 --no-wait   what was set before is complete now

The file, in YAML (or JSON); a relative path in it is relative to it:
  keys:
    com.example.web.port: 8081                                text, a number as it is written, true or false
    org.vmmessage.users:                                      lists and maps are sent as JSON
      - name: alice
        sshAuthorizedKeys: ["ssh-ed25519 AAAA..."]
  secrets:
    com.example.db.password: { file: /root/db-password }      its bytes, without one newline at the end
    com.example.api-token: { prompt: API token }              asked for, without showing it

All keys are set at once, and with them org.vmmessage.commit: the guest's vmmessage-bootstrap runs its modules then,
and shows how they fare. Secrets that are asked for are lines of the standard input where there is no terminal.
Exit codes: 0 when the run succeeded, 2 when it or one of its modules failed, 11 when no end of it was seen in time.`,
  attach: `Examples:
  vmmessage attach -v web1                                    adds the channel to its definition, and shows the change
  vmmessage attach -v web1 --print-diff                       shows it only
  vmmessage attach -v web1 --update                           plugs it into the running VM too
  vmmessage attach -v web1 -c qemu+ssh://hv2/system
  vmmessage attach --print-xml                                the XML to paste; asks no libvirt

It asks libvirt on this host, and no manager. A VM that has the channel stays as it is. One that runs gets it with
--update, or when it was shut down and is started again; a reboot inside the guest is not enough.`,
  monitor: `Examples:
  vmmessage monitor
  vmmessage monitor -v web1
  vmmessage monitor --table                                   what leads from one state to another; asks no manager`,
  messages: `Examples:
  vmmessage messages -v web1
  vmmessage messages -v web1 --received --limit 10`,
  receipt: `Examples:
  vmmessage receipt 0123456789abcdef0123456789abcdef
  vmmessage receipt 0123456789abcdef0123456789abcdef --wait-ack --timeout 1h`,
  user: `Examples:
  vmmessage user add alice --role write --vms 'web*' --keys com.example. --new-password -
  vmmessage user change alice --public-key ~/.ssh/id_ed25519.pub
  vmmessage user remove alice`,
  token: `Examples:
  vmmessage token create backup --label 'nightly job' --lifetime 90d
  vmmessage token revoke 0123456789abcdef`,
  audit: `Examples:
  vmmessage audit -v web1 --limit 20
  vmmessage audit --who alice --json`,
  events: `Examples:
  vmmessage events -v 'web*' --type 'VM.*' --follow
  vmmessage events --category AlertEvent --limit 20
  vmmessage events --type 'KEY.*' --prefix com.example. --values --json
  vmmessage events --since 0123456789abcdef:42                all after the one with this cursor
  vmmessage events --types                                    what there is to hear of; asks no manager

With one VM, they are of the log of the manager that has it, on whatever host; with several, with a pattern and
without -v, of the log of this host's manager.`,
  notify: `Examples:
  vmmessage notify add -v web1 --notify-file queues --vm-id 22
  vmmessage notify list -v web1
  vmmessage notify remove -v web1 0123456789abcdef`,
  "notify add": `Examples:
  vmmessage notify add -v web1 --notify-file queues           others cannot see the password
  pass show queue | vmmessage notify add -v web1 --notify-file - --vm-id 22
  vmmessage notify add -v web1 --notify 'broker.example.com,/,stratus,secret,states'

A part with a comma or a quote in it stands in double quotes, as in CSV.`,
  subscription: `Examples:
  vmmessage subscription add dns --type 'VM.*' --endpoint https://hooks.example.com/dns --new-secret
  vmmessage subscription add alerts --category AlertEvent --endpoint mailto:ops@example.com
  vmmessage subscription change 0123456789abcdef --contact mailto:ops@example.com
  vmmessage sink test 0123456789abcdef.1                      its first endpoint`,
  "subscription add": `Examples:
  vmmessage subscription add dns --type 'VM.*' --endpoint https://hooks.example.com/dns --new-secret
  vmmessage subscription add keys -v 'web*' --type 'KEY.*' --prefix com.example. --values --endpoint-file urls
  vmmessage subscription add bus --endpoint 'amqps://user@broker.example.com/vhost?exchange=events' --format cloudstack
  vmmessage subscription add pager --category AlertEvent --endpoint 'sms:+4930123456?gateway=pager'`,
  "subscription change": `Examples:
  vmmessage subscription change 0123456789abcdef --type VM.STOPPED --type VM.CRASHED
  vmmessage subscription change 0123456789abcdef --everything
  vmmessage subscription change 0123456789abcdef --new-secret --secret-file old    both sign, till the old one is left out`,
  sinks: `Examples:
  vmmessage sinks
  vmmessage sinks --json`,
  sink: `Examples:
  vmmessage sink show config:main
  vmmessage sink test 0123456789abcdef.1
  vmmessage sink redeliver 0123456789abcdef.1                 all dead letters`,
  "sink show": `Examples:
  vmmessage sink show config:main
  vmmessage sink show 0123456789abcdef.1 --json               the first endpoint of a subscription`,
  "sink redeliver": `Examples:
  vmmessage sink redeliver config:main                        all dead letters
  vmmessage sink redeliver config:main 8f14e45f-ceea-467f-8a3e-7d1f0c1b2a3d`,
  save: `Examples:
  vmmessage save -v web1 --to /srv/images --author-email alice@example.com
  vmmessage save -v web1 --to /srv/images/web --format raw --disk vdb --wait
  vmmessage save list -v web1
  vmmessage save cancel 0123456789abcdef`,
  "save list": `Examples:
  vmmessage save list
  vmmessage save list -v web1 --json`,
};

export const HELP_AFTER = `\n${FINDING}\n\n${EXAMPLES}\n\n${exitCodesText}`;
