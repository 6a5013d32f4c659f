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
  vmmessage doctor -v web1                                    what is missing when nothing answers

Through a manager (vmmessaged):
  vmmessage -v 'web*' -k com.example.role -V frontend         many VMs, one line for each
  vmmessage --vms-from racks.txt -q com.example.ready --json
  vmmessage -v web1 -k job -V 42 --expires 1h                 waits for a VM that is away, an hour at most
  vmmessage -u admin -p - -h manager.example.com -v web1 -q com.example.ready
  vmmessage vms`;

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
  vmmessage vms 'web*' --json`,
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
};

export const HELP_AFTER = `\n${FINDING}\n\n${EXAMPLES}\n\n${exitCodesText}`;
