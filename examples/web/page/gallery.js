// Many pictures: encoded once, ordered by what is asked for.

const BATCH = 8;

export class Gallery {
  #items = []; // { file, button, caption, row }
  #of = null; // the model whose rows they are
  #asked = 0;
  #searched = 0;

  constructor(list, open) {
    this.list = list;
    this.open = open;
  }

  hide() {
    this.list.hidden = true;
  }

  /** Shows pictures; nothing is known of them yet. */
  show(files) {
    this.list.hidden = false;
    for (const { image } of this.#items) URL.revokeObjectURL(image.src);
    this.#items = files.map((file) => this.#item(file));
    this.list.replaceChildren(...this.#items.map((i) => i.li));
    this.#of = null;
  }

  /** Whether the rows are this model's. */
  knows(clip) {
    return this.#of === clip;
  }

  /** Encodes them, all anew for another model; those that cannot be read are named. Whoever calls again, or ends the model, ends it. */
  async encode(clip, progress, complain) {
    const mine = ++this.#asked;
    if (!this.knows(clip)) {
      this.#of = clip;
      for (const item of this.#items) item.row = null;
    }
    const items = this.#items.filter((item) => !item.row), failed = [];
    for (let at = 0; at < items.length; at += BATCH) {
      const some = items.slice(at, at + BATCH);
      try {
        (await clip.encodeImages(some.map((i) => i.file))).forEach((row, i) => (some[i].row = row));
      } catch (error) {
        if (error.code === 'aborted') return;
        // One of them: each by itself.
        for (const item of some) {
          try {
            [item.row] = await clip.encodeImages([item.file]);
          } catch (error) {
            if (error.code === 'aborted') return;
            item.caption.textContent = 'cannot be read';
            failed.push(`${item.file.name}: ${error.message}`);
          }
        }
      }
      if (mine !== this.#asked) return;
      progress(Math.min(at + BATCH, items.length), items.length);
    }
    if (failed.length) complain(failed.length === 1 ? failed[0] : `${failed.length} pictures cannot be read, the first is ${failed[0]}`);
  }

  #item(file) {
    const li = document.createElement('li');
    li.innerHTML = '<button><img alt="" loading="lazy"><span></span></button>';
    const button = li.firstChild, [image, caption] = button.children;
    image.src = URL.createObjectURL(file);
    caption.textContent = file.name;
    button.title = file.name;
    button.onclick = () => this.open(file);
    return { file, li, image, caption, row: null };
  }

  /** Orders the pictures by words: those that `clip` has encoded so far. */
  async search(clip, words, template) {
    const text = this.knows(clip) ? words.trim() : '';
    const mine = ++this.#searched;
    let order = this.#items;
    if (text) {
      const [query] = await clip.encodeTexts([template.replace('{}', text)]);
      if (mine !== this.#searched) return;
      const cosine = (row) => row?.reduce((sum, v, i) => sum + v * query[i], 0) ?? -2;
      const scored = this.#items.map((item) => ({ item, score: cosine(item.row) })).sort((a, b) => b.score - a.score);
      scored.forEach(({ item, score }) => item.row && (item.caption.textContent = `${score.toFixed(3)} ${item.file.name}`));
      order = scored.map(({ item }) => item);
    } else {
      order.forEach((item) => item.row && (item.caption.textContent = item.file.name));
    }
    this.list.replaceChildren(...order.map((i) => i.li));
    this.list.dataset.query = text;
  }
}
