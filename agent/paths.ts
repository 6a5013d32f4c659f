/** Where the agent's things are, unless the user says otherwise (file-hierarchy(7)). */
export const DEFAULT_CONFIG_FILE = "/etc/vmmessage/agent.json";
export const DEFAULT_STATE_DIRECTORY = "/var/lib/vmmessage";
export const DEFAULT_RUN_DIRECTORY = "/run/vmmessage";

/** Root's socket, in the run directory. */
export const SOCKET_NAME = "agent.sock";
