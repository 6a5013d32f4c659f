/** What `agent --help` says beyond the list of options. */
import { exitCodesText } from "../shared/cli/exit-codes-text.ts";

export const USAGE = `-l | -g KEY | -r KEY | -x | -p KEY=VALUE... | -e EVENT
       agent heartbeat NAME --every DURATION
       agent check add NAME [--every DURATION] [--timeout DURATION] -- COMMAND [ARGS...]
       agent check list | agent check remove NAME
       agent run [...]
       agent doctor`;

export const DESCRIPTION =
  "Reads and sets the messages between this virtual machine and its host, and serves them (agent run).";

const EXAMPLES = `Examples:
  agent -l                                             all keys, one {"key":"value"} a line
  agent -g com.example.role                            the bare value
  agent -p com.example.ready=yes                       set a key for the host to query
  agent -p user=app -p port=5432                       two keys in one atomic change
  agent --value-file cert=/etc/ssl/app.der             any bytes, out of a file
  agent --wait com.example.role --timeout 300          wait for a key, at a first boot for instance
  agent --watch com.example. --json                    every change, one JSON object a line
  agent --ack com.example.job --result done            acknowledge what the host sent
  agent -e APP.STARTED                                 tell the host that something happened
  agent heartbeat com.example.app --every 30s          it lives, and beats again within 30 seconds
  agent check add web -- curl -fsS http://localhost/   run this every 30 seconds; well is what exits with 0
  agent check list                                     all that is watched, and how it is
  agent run                                            the daemon, on the virtio port org.vmmessage.agent.0
  agent doctor                                         what is missing when nothing arrives`;

export const HELP_AFTER = `\n${EXAMPLES}\n\n${exitCodesText}`;
