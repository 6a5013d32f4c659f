/** How much the store keeps. None of these numbers is measured; each is far above what a sound use needs. */

const DAY_MS = 24 * 60 * 60 * 1000;
const MIB = 1024 * 1024;

export interface StoreLimits {
  /** Messages that wait for one VM, and the bytes of their parameters as JSON. Over that a new one is refused. */
  pendingPerVm: number;
  pendingBytesPerVm: number;
  /** The same for all VMs together. */
  pendingTotal: number;
  pendingBytesTotal: number;
  /** Receipts of settled messages: the newest of each VM, none older. */
  receiptsPerVm: number;
  receiptAgeMs: number;
  /** Messages from one VM, and their bytes: the newest. */
  receivedPerVm: number;
  receivedBytesPerVm: number;
  /** The audit log: the newest records, none older. */
  auditRecords: number;
  auditAgeMs: number;
  /**
   * The log of events: the newest, none older. A sink that has not come to an event, or is to try it again, keeps it there
   * for up to twice of each. Dead letters are kept for the age too, from when they became so.
   */
  eventCount: number;
  eventBytes: number;
  eventAgeMs: number;
}

/** Dead letters of one sink: the newest. Not measured: whoever reads more of them wants the events from the log instead. */
export const KEPT_DEAD_LETTERS = 1000;

/** Their bytes: a guest's own data may be as large as a frame. Not measured. */
export const KEPT_DEAD_LETTER_BYTES = 16 * MIB;

export const DEFAULT_STORE_LIMITS: Readonly<StoreLimits> = {
  pendingPerVm: 1000,
  pendingBytesPerVm: 8 * MIB,
  pendingTotal: 200_000,
  pendingBytesTotal: 1024 * MIB,
  receiptsPerVm: 1000,
  receiptAgeMs: 30 * DAY_MS,
  receivedPerVm: 1000,
  // A hostile guest sends messages as large as a frame: this bounds the disk it can fill.
  receivedBytesPerVm: 8 * MIB,
  auditRecords: 1_000_000,
  auditAgeMs: 90 * DAY_MS,
  eventCount: 1_000_000,
  // Events are of some 500 bytes, but a guest's own data or a key's value may be as large as a frame.
  eventBytes: 4096 * MIB,
  eventAgeMs: 30 * DAY_MS,
};
