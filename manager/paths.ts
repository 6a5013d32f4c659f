/**
 * Where the manager's things are, unless the user says otherwise: root's by file-hierarchy(7), an ordinary user's by the
 * XDG base directory specification.
 */
import { join } from "node:path";

export interface Places {
  configFile: string;
  stateDirectory: string;
  runDirectory: string;
}

/** The socket of whoever runs the manager, in the run directory. */
export const SOCKET_NAME = "manager.sock";

/** What is found in the environment of an ordinary user. */
export interface UserSurroundings {
  uid: number;
  home: string;
  XDG_CONFIG_HOME: string | undefined;
  XDG_STATE_HOME: string | undefined;
  XDG_RUNTIME_DIR: string | undefined;
}

const rootsPlaces: Places = {
  configFile: "/etc/vmmessage/manager.json",
  stateDirectory: "/var/lib/vmmessage/manager",
  runDirectory: "/run/vmmessage",
};

export function defaultPlaces(user: UserSurroundings): Places {
  if (user.uid === 0) return rootsPlaces;
  const { home, XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR } = user;
  return {
    configFile: join(XDG_CONFIG_HOME ?? join(home, ".config"), "vmmessage", "manager.json"),
    stateDirectory: join(XDG_STATE_HOME ?? join(home, ".local", "state"), "vmmessage", "manager"),
    runDirectory: join(XDG_RUNTIME_DIR ?? `/run/user/${user.uid}`, "vmmessage"),
  };
}
