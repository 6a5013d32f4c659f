/** What `vmmessage --help` says beyond the list of options. */
import { exitCodesText } from "../shared/cli/exit-codes-text.ts";

export const USAGE = `[-u USER] [-p PASSWORD] [-h HOST] -v VM -k KEY -V VALUE [-k KEY2 -V VALUE2 ...]
       vmmessage [-u USER] [-p PASSWORD] [-h HOST] -v VM -q KEY
       vmmessage COMMAND -v VM [...]`;

export const DESCRIPTION =
  "Sends key/value messages to a virtual machine and asks for those it holds, without a network.";

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
  vmmessage doctor -v web1                                    what is missing when nothing answers`;

const FINDING = `Where the VM's channel is looked for, the first that is given:
  --socket PATH       the Unix socket of the channel itself
  --socket-dir DIR    DIR/VM.sock, DIR/VM or DIR/VM/org.vmmessage.agent.0; VMMESSAGE_SOCKET_DIR names DIR too
  libvirt             the channel named org.vmmessage.agent.0 of the domain, through virsh [-c URI]`;

export const HELP_AFTER = `\n${FINDING}\n\n${EXAMPLES}\n\n${exitCodesText}`;
