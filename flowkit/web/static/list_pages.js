// Load a long list in pages: those that are needed now, and few at a time. Others are forgotten.

const PAGE = 60;
const KEPT_PAGES = 24;
const MAX_REQUESTS = 3;
/** What a request returns that was stopped. */
export const STOPPED = Symbol("the request was stopped");

/** The pages of one list at a time. */
export class ListPages {
  /**
   * @param {function(number, number, AbortSignal): Promise<{version: string, videos: object[]}>} load
   *   Returns the videos from an offset on, at most a limit.
   * @param {function(Error): void} onerror
   */
  constructor(load, onerror) {
    this.load = load;
    this.onerror = onerror;
    this.pages = new Map();  // number of a page: its videos, or the AbortController of its request
  }

  /** Return video k, or null if it has not been loaded. */
  get(k) {
    const page = this.pages.get(Math.floor(k / PAGE));
    return Array.isArray(page) ? page[k % PAGE] ?? null : null;
  }

  /** Forget all pages, as another list is shown, and stop all requests. */
  clear() {
    for (const page of this.pages.values()) if (page instanceof AbortController) page.abort();
    this.pages = new Map();
  }

  /**
   * Load the pages of videos first to last - 1, and stop the requests of others.
   * @returns {Promise[]} the new requests; see `request`.
   */
  aim(first, last) {
    const [low, high] = [Math.floor(first / PAGE), Math.floor(Math.max(first, last - 1) / PAGE)];
    let running = 0;
    for (const [number, page] of this.pages) {
      if (!(page instanceof AbortController)) continue;
      if (number >= low && number <= high) running++;
      else {
        page.abort();
        this.pages.delete(number);
      }
    }
    const requests = [];
    for (let number = low; number <= high && running < MAX_REQUESTS; number++) {
      if (this.pages.has(number)) continue;
      requests.push(this.request(number * PAGE));
      running++;
    }
    for (const number of this.pages.keys()) {
      if (this.pages.size <= KEPT_PAGES) break;
      if (number < low || number > high) this.pages.delete(number);
    }
    return requests;
  }

  /**
   * Load the page of video k.
   * @returns {Promise} the answer; null after an error, which `onerror` was told; or STOPPED.
   */
  async request(k) {
    const number = Math.floor(k / PAGE), controller = new AbortController();
    const {pages} = this;
    pages.set(number, controller);
    try {
      const answer = await this.load(number * PAGE, PAGE, controller.signal);
      if (controller.signal.aborted) return STOPPED;
      // Another version of the store has other rows: the other pages are loaded again.
      const isNew = this.version !== undefined && answer.version !== this.version;
      if (isNew) this.clear();
      this.version = answer.version;
      this.pages.set(number, answer.videos);
      return answer;
    } catch (error) {
      if (controller.signal.aborted) return STOPPED;
      pages.delete(number);
      this.onerror(error);
      return null;
    }
  }
}
