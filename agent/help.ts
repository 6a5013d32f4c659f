/** What `agent --help` says beyond the list of options. */
import { exitCodesText } from "../shared/cli/exit-codes-text.ts";

export const USAGE = `-l | -g KEY | -r KEY | -x | -p KEY=VALUE... | -e EVENT
       agent heartbeat NAME --every DURATION
       agent check add NAME [--every DURATION] [--timeout DURATION] -- COMMAND [ARGS...]
       agent check list | agent check remove NAME
       agent bootstrap [--wait DURATION] [--otherwise defaults|fail] | agent bootstrap --watch
       agent config TARGET [--module NAME...] [--stdin | --file PATH | --console-input] [--dry-run]
       agent config list | status | enumerate [TARGET] | enable MODULE TARGET | disable MODULE TARGET
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
  agent bootstrap --wait 5m                            configure this machine when the host has completed its keys
  agent config configure --dry-run                     what its modules would change
  agent run                                            the daemon, on the virtio port org.vmmessage.agent.0
  agent doctor                                         what is missing when nothing arrives`;

/** Of the words that configure this machine: the options they share stand in the whole help. */
export const CONFIGURATION_EXAMPLES = `Examples:
  agent bootstrap --wait 5m                        configure once, when the host's commit has come; else fail in time
  agent bootstrap --wait 1m --otherwise defaults   else go on with the keys that are there
  agent bootstrap --watch                          configure again with each later commit, till interrupted
  agent config list                                the modules, where they are, and their targets
  agent config enumerate --human-readable          every key that they take
  agent config configure --dry-run                 what would change, as a diff
  agent config configure --module web --console-input    one module, with values that a person types
  agent -l | agent config configure --module web --stdin  one module, with the keys as they are
  agent config cleanup                             before this disk becomes a template
  agent config status                              how the last run went

The options: agent --help`;

export const HELP_AFTER = `\n${EXAMPLES}\n\n${exitCodesText}`;
