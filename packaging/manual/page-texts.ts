/** What manual pages say that no definition of a command line does. */
import { DEFAULT_CONFIG_FILE, DEFAULT_RUN_DIRECTORY, DEFAULT_STATE_DIRECTORY, SOCKET_NAME } from "../../agent/paths.ts";
import type { PageText } from "./program-page.ts";

const INTERRUPTED = "A command that SIGINT ended exits with 130, and with 143 after SIGTERM.";

const AGENT_EXIT_STATUS = "The exit codes are those of vmmessage-agent(8).";

export const agentText: PageText = {
  name: "vmmessage-agent",
  otherNames: ["agent"],
  section: 8,
  summary: "messages between this virtual machine and its host",
  description: [
    "The program is installed as vmmessage-agent, and agent is a name for it by update-alternatives(1): both are the same, " +
      "and this page says agent. Where another package has that name, say vmmessage-agent.",
    "vmmessage-agent.service runs the daemon, and udev starts it when the channel's port is there. " +
      "vmmessage-bootstrap.service and vmmessage-reconfigure.service configure the machine by the host's keys; they are " +
      "installed, and not enabled. What keeps the daemon off a machine with that port is systemctl mask vmmessage-agent.",
  ],
  files: [
    {
      term: "/dev/virtio-ports/org.vmmessage.agent.0",
      meaning: "The channel to the host, unless --channel names another.",
    },
    { term: DEFAULT_CONFIG_FILE, meaning: "The daemon's configuration, which nobody needs to write." },
    { term: "/etc/vmmessage/bootstrap.json", meaning: "The configuration of bootstrap and config." },
    { term: "/etc/vmmessage/template.d", meaning: "Configuration modules: templates and programs." },
    { term: "/etc/template.d/scripts", meaning: "Configuration modules written for Oracle VM." },
    { term: DEFAULT_STATE_DIRECTORY, meaning: "The keys, and what else has to survive a boot." },
    {
      term: `${DEFAULT_RUN_DIRECTORY}/${SOCKET_NAME}`,
      meaning: "The socket that the commands ask the daemon through.",
    },
    {
      term: `${DEFAULT_RUN_DIRECTORY}/keys`,
      meaning: "The values of keys as files, which systemd's LoadCredential= reads.",
    },
    { term: "/usr/share/doc/vmmessage-agent", meaning: "Guides and examples." },
  ],
  exitStatus: [INTERRUPTED],
  seeAlso: [
    ["vmmessage", 1],
    ["ovm-template-config", 8],
    ["ovmd", 8],
    ["vmmessaged", 8],
  ],
};

export const hostText: PageText = {
  name: "vmmessage",
  section: 1,
  summary: "messages to virtual machines, without a network in them",
  environment: [
    { term: "VMMESSAGE_HOST", meaning: "HOST or HOST:PORT of the manager, as -h says it." },
    { term: "VMMESSAGE_MANAGER", meaning: "The Unix socket of the manager on this host, as --manager says it." },
    { term: "VMMESSAGE_SOCKET_DIR", meaning: "A directory with a socket for each VM, as --socket-dir says it." },
    { term: "VMMESSAGE_USER", meaning: "A user of the manager, as -u says it." },
    {
      term: "VMMESSAGE_PASSWORD",
      meaning: "That user's password. Others on this machine cannot see it, as they can see -p.",
    },
    { term: "VMMESSAGE_TOKEN", meaning: "A token, in place of a user and a password." },
    { term: "LIBVIRT_DEFAULT_URI", meaning: "libvirt's connection URI where -c does not say it; virsh(1) reads it." },
    { term: "XDG_CONFIG_HOME", meaning: "Where vmmessage/credentials is, in place of ~/.config." },
    { term: "XDG_RUNTIME_DIR", meaning: "Where the manager of an ordinary user has its socket." },
  ],
  files: [
    {
      term: "~/.config/vmmessage/credentials",
      meaning: "Who asks which manager, in JSON. Only its owner may be able to read it.",
    },
    { term: "/run/vmmessage/manager.sock", meaning: "The manager on this host." },
    {
      term: "$XDG_RUNTIME_DIR/vmmessage/manager.sock",
      meaning: "The manager on this host that the same user runs.",
    },
    { term: "/usr/share/doc/vmmessage", meaning: "Guides." },
  ],
  exitStatus: [INTERRUPTED, "The command check has exit codes of its own, those of a monitoring plugin: see there."],
  seeAlso: [
    ["ovm_vmmessage", 1],
    ["virsh", 1],
    ["vmmessage-agent", 8],
    ["vmmessaged", 8],
  ],
};

export const managerText: PageText = {
  name: "vmmessaged",
  section: 8,
  summary: "the manager of a host's messages to its virtual machines",
  description: [
    "vmmessaged.service runs it. It stays in the foreground and logs to the standard error, a JSON object a line.",
  ],
  environment: [
    {
      term: "XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR",
      meaning:
        "Where an ordinary user's manager has its configuration, its state and its socket: below vmmessage in each. Root's " +
        "does not look at them.",
    },
  ],
  files: [
    { term: "/etc/vmmessage/manager.json", meaning: "The configuration. All of it is optional." },
    { term: "/var/lib/vmmessage/manager", meaning: "Mirrors of keys, messages that wait, users, events." },
    { term: "/run/vmmessage/manager.sock", meaning: "The socket that vmmessage(1) asks it through." },
    {
      term: "/usr/share/doc/vmmessage-manager",
      meaning: "Guides; manager.md explains each member of the configuration.",
    },
  ],
  seeAlso: [
    ["vmmessage", 1],
    ["vmmessage-agent", 8],
  ],
};

export const ovmdText: PageText = {
  name: "ovmd",
  section: 8,
  summary: "the name that Oracle VM's guests have for vmmessage-agent",
  description: [
    "It is vmmessage-agent(8), so that what was written for Oracle VM goes on working: it takes all words and options of agent, " +
      "and means the same by them.",
  ],
  exitStatus: [AGENT_EXIT_STATUS],
  compatibility: [
    "What differs from agent: without an option that says what to do it is the daemon, as agent run is, and the daemon logs to " +
      "syslog unless --debug says otherwise.",
    "What differs from Oracle VM's ovmd: the daemon stays in the foreground, where systemd wants it; ovmd.service is a name " +
      "of vmmessage-agent.service. A message that is not understood is refused with a reason.",
  ],
  seeAlso: [
    ["ovm_vmmessage", 1],
    ["ovm-template-config", 8],
    ["vmmessage-agent", 8],
  ],
};

export const templateConfigText: PageText = {
  name: "ovm-template-config",
  section: 8,
  summary: "the name that Oracle VM's guests have for agent config",
  description: [
    "It is vmmessage-agent(8) with the command config, so that what was written for Oracle VM goes on working.",
  ],
  files: [
    { term: "/etc/template.d/scripts", meaning: "Configuration modules, as for Oracle VM." },
    {
      term: "/etc/vmmessage/template.d",
      meaning: "Configuration modules of this machine; of two with one name these count.",
    },
  ],
  exitStatus: [AGENT_EXIT_STATUS],
  compatibility: [
    "ovm-template-config TARGET is agent config TARGET. --enumerate is agent config enumerate, and --script NAME is " +
      "--module NAME.",
    "What ovm-chkconfig did is done by agent config enable and agent config disable.",
  ],
  seeAlso: [
    ["ovmd", 8],
    ["vmmessage-agent", 8],
  ],
};

export const ovmVmmessageText: PageText = {
  name: "ovm_vmmessage",
  section: 1,
  summary: "the name that Oracle VM has for vmmessage",
  description: [
    "It is vmmessage(1), so that what was written for Oracle VM goes on working: it takes the same words and options, and " +
      "answers in the same way.",
  ],
  exitStatus: ["The exit codes are those of vmmessage(1)."],
  compatibility: [
    "What differs from Oracle VM's command: without -u, -p and -h the manager on this host is asked through its socket, or " +
      "where there is none the VM's channel itself. A password on the command line is taken, and warned of: others on the " +
      "machine can see it.",
  ],
  seeAlso: [
    ["vmmessage", 1],
    ["ovmd", 8],
  ],
};

/** How `ovm_vmmessage` is called. */
export const OVM_VMMESSAGE_USAGE = `-u USER -p PASSWORD -h HOST -v VM -k KEY -V VALUE [-k KEY2 -V VALUE2 ...]
ovm_vmmessage -u USER -p PASSWORD -h HOST -v VM -q KEY
ovm_vmmessage [...]`;
