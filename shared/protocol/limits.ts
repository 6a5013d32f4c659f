/** Every limit of the protocol and the cache, with its reason. Sizes are in bytes unless the name says otherwise. */

/** The largest payload of a frame. Room for the largest value as base64 with its envelope, and a bound on what a reader buffers. */
export const MAX_PAYLOAD = 256 * 1024;

/** `0x1E`, eight hexadecimal digits, a space, the payload, `0x0A`. */
export const FRAME_OVERHEAD = 11;

/** How deep the data of an event, a report or an error may be nested: whoever prints it as JSON again recurses. Not measured. */
export const MAX_NESTING = 32;

/** A key's limit in UTF-8 bytes: ovmd's own. */
export const MAX_KEY = 256;

/** A value's limit: with base64 and escapes it still fits a frame. */
export const MAX_VALUE = 32 * 1024;

/** What a cache holds unless the guest's administrator says otherwise: the 8 KiB of Oracle VM's message API. */
export const DEFAULT_CACHE_LIMIT = 8192;

/** The most an administrator may configure: every change writes the whole cache once. */
export const MAX_CACHE_LIMIT = 1024 * 1024;

/** Entries in one `set`, keys in one `delete`. A default cache cannot hold more than 1,024 entries. */
export const MAX_ENTRIES_PER_CHANGE = 1024;

/** Answers remembered for retries, for each side. A sender retries its last request, not its last thousand. */
export const REMEMBERED_ANSWERS = 256;

/** Deleted keys remembered for watchers that resume. An older watcher gets a snapshot instead. */
export const MAX_TOMBSTONES = 1024;

/** Entries a `list` answers with at once; the rest comes in further pages. */
export const MAX_PAGE_ENTRIES = 1024;

/** The bytes of entries in one page or one `changed`: with one entry of the largest value more, it still fits a frame. */
export const PAGE_BYTES = 128 * 1024;

/** The most that an entry's names, dates, numbers and flags take in a frame, beside its key and value. */
export const WIRE_ENTRY_OVERHEAD = 256;

/** Watches on one connection. Not measured: a dozen prefixes is a lot. */
export const MAX_WATCHES = 64;

/** A guest event's name: 1 to 64 of `A-Z 0-9 . _ -`. */
export const MAX_EVENT_NAME = 64;

/** The text an acknowledgement carries back, in UTF-8 bytes. */
export const MAX_ACKNOWLEDGEMENT = 4096;

/** Messages for the host that wait in the guest, and their bytes. Over that a new one is refused, none is dropped. */
export const MAX_QUEUED_MESSAGES = 256;
export const MAX_QUEUED_BYTES = 256 * 1024;

/** Applications of a guest that its agent watches: their states travel in each answer to a ping. Not measured. */
export const MAX_APPLICATIONS = 32;

/** What is said of an application's state, in UTF-16 code units: the end of what its check printed. */
export const MAX_APPLICATION_REASON = 200;

/** Words of a check's command, and their bytes together. Not measured. */
export const MAX_COMMAND_WORDS = 64;
export const MAX_COMMAND_BYTES = 4096;

/** File systems in an answer to `stats`. */
export const MAX_DISKS = 32;
