// The list of labels: edited where they stand, each with its bar.

const FILL = 0.3; // s: the time constant of what is shown
const LEAD = 0.05; // by how much another must pass the one that leads

export class Labels {
  #rows = []; // { label, shown, raw, li, bar, output, input, remove }
  #leads = null;
  #spoken = 0;
  #written = 0;
  #then = 0;

  constructor(list, leading, changed) {
    this.list = list;
    this.leading = leading;
    this.changed = changed;
    this.sorted = false;
    this.none = null;
    list.addEventListener('keydown', (event) => this.#key(event));
  }

  get texts() {
    return this.#rows.filter((r) => r !== this.none).map((r) => r.label);
  }

  set(texts, withNone) {
    this.list.replaceChildren();
    this.#rows = [];
    this.none = null;
    this.#leads = null;
    [...new Set(texts.map((t) => t.trim()).filter(Boolean))].forEach((text) => this.#append(text));
    if (withNone) this.none = this.#append('none of these', true);
  }

  add(text) {
    const all = text.split(/\r?\n/).map((t) => t.trim()).filter((t) => t && !this.texts.includes(t));
    if (!all.length) return;
    this.set([...this.texts, ...all], this.none !== null);
    this.changed();
  }

  #append(label, none = false) {
    const li = document.createElement('li');
    li.className = none ? 'none' : '';
    li.innerHTML = '<span class="bar"></span><span class="score">–</span><input autocomplete="off"><button>×</button>';
    const [bar, output, input, remove] = li.children;
    input.value = label;
    input.readOnly = none;
    input.setAttribute('aria-label', none ? 'None of these' : 'Label');
    remove.setAttribute('aria-label', `Remove ${label}`);
    remove.hidden = none;
    const row = { label, shown: null, raw: null, li, bar, output, input, remove };
    input.addEventListener('change', () => this.#rename(row, input.value.trim()));
    input.addEventListener('paste', (event) => {
      const text = event.clipboardData.getData('text');
      if (text.includes('\n')) (event.preventDefault(), this.add(text));
    });
    remove.addEventListener('click', () => this.#remove(row));
    this.#rows.push(row);
    this.list.append(li);
    return row;
  }

  #rename(row, text) {
    if (!text) return this.#remove(row);
    if (this.texts.filter((t) => t === text).length && text !== row.label) return void (row.input.value = row.label);
    [row.label, row.shown, row.input.value] = [text, null, text];
    row.remove.setAttribute('aria-label', `Remove ${text}`);
    this.changed();
  }

  #remove(row) {
    const at = this.#rows.indexOf(row), had = row.li.contains(document.activeElement);
    this.set(this.#rows.filter((r) => r !== row && r !== this.none).map((r) => r.label), this.none !== null);
    if (had) this.#rows[Math.min(at, this.texts.length - 1)]?.remove.focus();
    this.changed();
  }

  // Enter adds or takes over, Delete in an empty field removes, arrows move among the labels; with Alt they move the label.
  #key(event) {
    const at = this.#rows.findIndex((r) => r.input === event.target);
    if (at < 0) return;
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step) {
      event.preventDefault();
      const to = this.#rows[at + step];
      if (event.altKey && to && to !== this.none && this.#rows[at] !== this.none) {
        const texts = this.texts;
        [texts[at], texts[at + step]] = [texts[at + step], texts[at]];
        this.set(texts, this.none !== null);
        this.changed();
        return this.#rows[at + step].input.focus();
      }
      return to?.input.focus();
    }
    if (event.key === 'Enter') event.target.blur();
    if (event.key === 'Delete' && !event.target.value) this.#remove(this.#rows[at]);
  }

  /** New scores, in the labels' order. `still` shows them at once. */
  show(scores, { cosine, threshold, still }) {
    const now = performance.now();
    const keep = still ? 0 : Math.exp(-(now - this.#then) / 1000 / FILL);
    this.#then = now;
    this.#rows.forEach((row, i) => {
      row.raw = scores[i];
      row.shown = row.shown === null ? row.raw : keep * row.shown + (1 - keep) * row.raw;
      const share = cosine ? Math.max(0, (row.shown - 0.1) / 0.3) : row.shown;
      row.bar.style.transform = `scaleX(${Math.min(1, share)})`;
      row.li.title = `${row.label}: ${row.raw.toFixed(4)}`;
    });
    const best = this.#rows.reduce((a, b) => (b.shown > a.shown ? b : a), this.#rows[0]);
    if (!best) return;
    if (!this.#rows.includes(this.#leads) || still || best.shown > this.#leads.shown + LEAD) this.#leads = best;
    if (still || now - this.#written > 250) this.#write(now, cosine, threshold, still);
  }

  // Numbers change at most four times a second.
  #write(now, cosine, threshold, still) {
    this.#written = now;
    for (const row of this.#rows) {
      row.output.textContent = cosine ? row.shown.toFixed(3) : `${(100 * row.shown).toFixed(1)} %`;
      row.li.classList.toggle('leads', row === this.#leads && row.shown >= threshold);
    }
    // A list that is put anew loses the focus, and a click between press and release.
    const order = this.sorted && !this.list.contains(document.activeElement) ? [...this.#rows].sort((a, b) => b.shown - a.shown) : [];
    if (order.some((row, i) => this.list.children[i] !== row.li)) this.list.append(...order.map((r) => r.li));
    if (still || now - this.#spoken > 1000) {
      const text = this.#leads.shown >= threshold ? this.#leads.label : 'none of these';
      if (text !== this.leading.textContent) this.leading.textContent = text;
      this.#spoken = now;
    }
  }

  /** No scores: nothing single is looked at. */
  clear() {
    for (const row of this.#rows) {
      row.shown = row.raw = null;
      row.output.textContent = '–';
      row.bar.style.transform = 'scaleX(0)';
      row.li.classList.remove('leads');
    }
    this.leading.textContent = '';
  }

  get scores() {
    return this.#rows.map(({ label, raw, shown }) => ({ label, score: raw, shown }));
  }
}
