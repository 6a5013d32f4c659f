/** Which rows of the API's table managers ask of each other, and on what condition they are served. */
import { type EndpointName, endpoints } from "../../../shared/api/endpoints.ts";

/**
 * `vm-reading`, `vm-message`, `vm-once`: by who holds the VM of the path. When it moves meanwhile, a reading is ended, for it
 * can be asked for again elsewhere; a message is no longer waited for, for it goes after the VM; what is done once is done.
 * `query-vm`: of the VM in the query. `fleet`: of VMs that are all held here. `own`: of what is this manager's alone.
 * `never`: of the manager itself, which its own users ask at its own doors.
 */
type Serving = "vm-reading" | "vm-message" | "vm-once" | "query-vm" | "fleet" | "own" | "never";

/** All rows, so that a new one is decided upon. */
export const servings = {
  listVms: "own",
  showVm: "vm-reading",
  forgetVm: "vm-once",
  listKeys: "vm-reading",
  getKey: "vm-reading",
  watchKeys: "vm-reading",
  sendMessage: "vm-message",
  listSent: "vm-reading",
  listReceived: "vm-reading",
  getReceipt: "own",
  infoVm: "vm-reading",
  pingVm: "vm-reading",
  statsVm: "vm-reading",
  listHealth: "never",
  showHealth: "vm-reading",
  sendFleet: "fleet",
  listEvents: "query-vm",
  followEvents: "query-vm",
  listSinks: "never",
  listDeadLetters: "never",
  listDeliveries: "never",
  redeliver: "never",
  enableSink: "never",
  testSink: "never",
  listSubscriptions: "never",
  createSubscription: "never",
  showSubscription: "never",
  changeSubscription: "never",
  removeSubscription: "never",
  listNotify: "vm-reading",
  addNotify: "vm-once",
  removeNotify: "vm-once",
  saveImage: "vm-once",
  listImageSaves: "query-vm",
  showImageSave: "own",
  followImageSave: "own",
  cancelImageSave: "own",
  listUsers: "never",
  changeUser: "never",
  removeUser: "never",
  listTokens: "never",
  createToken: "never",
  revokeToken: "never",
  listAudit: "query-vm",
  health: "never",
} as const satisfies Readonly<Record<EndpointName, Serving>>;

/** Rows with their VM in the path and one answer: whoever holds the VM serves them. */
export type VmRow = {
  [N in EndpointName]: (typeof servings)[N] extends `vm-${string}`
    ? (typeof endpoints)[N] extends { stream: object }
      ? never
      : N
    : never;
}[EndpointName];

export const vmRows = (Object.keys(servings) as EndpointName[]).filter((name): name is VmRow => {
  return servings[name].startsWith("vm-") && !("stream" in endpoints[name]);
});
