// SPDX-License-Identifier: GPL-2.0-or-later
// All texts are guests' and reach the page as text nodes only.
'use strict';
(() => {

const data = JSON.parse(document.getElementById('profile').textContent);
const texts = data.texts;
const comparing = data.base !== undefined;
const eventCount = data.events.length;
const totals = data.table.totals;  // per weight: events of the source, then those of the base

// FrameKind of src/report/flame_tree.h.
const kinds = ['all', 'domain', 'process', 'user', 'kernel', 'hypervisor', 'rest'];
const kRest = kinds.indexOf('rest');
const kDomain = kinds.indexOf('domain');
const modes = ['hypervisor', 'kernel', 'user'];  // in the order of data.domains[].modes

const rowHeight = 18;  // pixels, as in the style
const leastWidth = 1;  // pixels: what is narrower waits for a zoom

const number = new Intl.NumberFormat('en-US');
const oneDigit = new Intl.NumberFormat('en-US', {minimumFractionDigits: 1, maximumFractionDigits: 1});

function percent(share) {
  if (share > 0 && share < 0.001) {
    return `${(100 * share).toPrecision(2)} %`;
  }
  return `${oneDigit.format(100 * share)} %`;
}

// In a column of percentages; nothing for nothing, so that what there is stands out.
function percentCell(samples, all) {
  const share = 100 * ratio(samples, all);
  return samples === 0 ? '' : share < 0.05 ? '<0.1' : oneDigit.format(share);
}

function points(share) {
  return `${share < 0 ? '−' : '+'}${oneDigit.format(Math.abs(100 * share))}`;
}

// Half of the 95 % confidence interval.
function error(share, samples) {
  return samples === 0 ? 0 : 1.96 * Math.sqrt(share * (1 - share) / samples);
}

function ratio(part, whole) {
  return whole === 0 ? 0 : part / whole;
}

// A stable number in [0, 1) of a text.
function hash(text) {
  let sum = 2166136261;
  for (let i = 0; i < text.length; ++i) {
    sum = Math.imul(sum ^ text.charCodeAt(i), 16777619);
  }
  return ((sum ^ (sum >>> 15)) >>> 0) / 4294967296;
}

// ---- the tree ----

const tree = data.tree;
const nodes = tree.depth.map((depth, id) => ({id, depth, frame: tree.frame[id], children: []}));
{
  const path = [];
  for (const node of nodes) {
    path.length = node.depth;
    if (node.depth > 0) {
      path[node.depth - 1].children.push(node);
    }
    path.push(node);
  }
}
const domainIds = new Map(data.domains.map((domain, index) => [domain.name, index]));
const hasDomains = nodes.some(node => tree.frames.kind[node.frame] === kDomain);
for (const node of nodes) {
  const top = node.depth === 1 && hasDomains;
  if (top) {
    node.domain = domainIds.get(tree.frames.name[node.frame]);
  }
  for (const child of node.children) {
    child.domain = node.domain;
  }
}

const nameOf = node => texts[tree.frames.name[node.frame]];
const imageOf = node => texts[tree.frames.image[node.frame]];
const kindOf = node => tree.frames.kind[node.frame];

// Samples of a node without what is above it.
function own(node, weight) {
  const samples = tree.samples[weight];
  return node.children.reduce((rest, child) => rest - samples[child.id], samples[node.id]);
}

function modeColour(mode, turn = 0, shade = 0) {
  return `hsl(calc(var(--${mode}) + ${turn}) var(--${mode}-strong) calc(var(--light) + ${shade}%))`;
}

// The mode's hue; an image turns it a little, a function is a shade of it.
const colours = tree.frames.name.map((name, frame) => {
  const kind = kinds[tree.frames.kind[frame]];
  if (!modes.includes(kind)) {
    return `var(--${kind === 'rest' ? 'striped' : 'plain'})`;
  }
  const shade = Math.round(12 * hash(texts[name]) - 6);
  const turn = Math.round(16 * hash(texts[tree.frames.image[frame]]) - 8);
  return modeColour(kind, turn, shade);
});

// ---- what is shown; kept in the address, so that back, forward and bookmarks work ----

const state = {event: 0, zoom: 0, off: new Set(), search: '', base: false, sort: null, down: true};

function readAddress() {
  const address = new URLSearchParams(location.hash.slice(1));
  const event = data.events.findIndex(one => one.name === address.get('event'));
  state.event = Math.max(event, 0);
  const zoom = Number(address.get('zoom'));
  state.zoom = Number.isInteger(zoom) && zoom > 0 && zoom < nodes.length ? zoom : 0;
  const off = address.getAll('without');
  state.off = new Set(data.domains.map((_, index) => index)
    .filter(index => off.includes(texts[data.domains[index].name])));
  if (state.off.size === data.domains.length) {
    state.off.clear();
  }
  state.search = address.get('search') || '';
  state.base = comparing && address.get('widths') === 'base';
}

function writeAddress(replace) {
  const address = new URLSearchParams();
  if (state.event !== 0) {
    address.set('event', data.events[state.event].name);
  }
  if (state.zoom !== 0) {
    address.set('zoom', state.zoom);
  }
  for (const index of state.off) {
    address.append('without', texts[data.domains[index].name]);
  }
  if (state.search !== '') {
    address.set('search', state.search);
  }
  if (state.base) {
    address.set('widths', 'base');
  }
  history[replace ? 'replaceState' : 'pushState'](null, '', `#${address}`);
}

function change(what, {replace = false} = {}) {
  Object.assign(state, what);
  writeAddress(replace);
  draw();
}

const shownWeight = () => state.event + (state.base ? eventCount : 0);

// ---- a difference, and how sure it is ----

// Of two shares of the samples of the event.
function difference(event, shown, base) {
  const newShare = ratio(shown, totals[event]);
  const oldShare = ratio(base, totals[eventCount + event]);
  const unsure = Math.hypot(error(newShare, totals[event]),
    error(oldShare, totals[eventCount + event]));
  const change = newShare - oldShare;
  return {newShare, oldShare, change, unsure, certain: Math.abs(change) > unsure};
}

function differenceColour(node) {
  const {newShare, oldShare, change, certain} = difference(state.event,
    tree.samples[state.event][node.id], tree.samples[eventCount + state.event][node.id]);
  if (!certain) {
    return 'var(--same)';
  }
  // Four times as much or a quarter has the full colour.
  const strength = Math.min(1, Math.abs(Math.log2(newShare / oldShare)) / 2);
  return rampColour(change > 0 ? 'more' : 'less', strength);
}

function rampColour(side, strength) {
  return `hsl(var(--${side}) calc(var(--faint) + (var(--full) - var(--faint)) * ${strength.toFixed(2)}))`;
}

// ---- the flame graph ----

const flame = d3.select('#flame');
const root = d3.hierarchy(nodes[0], node => node.children);
const laid = new Array(nodes.length);  // d3's node by id
root.each(node => { laid[node.data.id] = node; });
const ownSamples = tree.samples.map((_, weight) => nodes.map(node => own(node, weight)));
let laidOut = '';

function layOut() {
  const weight = shownWeight();
  const key = [weight, ...state.off].join();
  if (key === laidOut) {
    return;
  }
  laidOut = key;
  root.sum(node => state.off.has(node.domain) ? 0 : ownSamples[weight][node.id]);
  d3.partition()(root);
}

// The node zoomed in on, or the nearest below it that has samples of this event and domains.
function focused() {
  let node = laid[state.zoom];
  while (node.parent && node.value === 0) {
    node = node.parent;
  }
  return node;
}

function matchingFrames() {
  const wanted = state.search.trim().toLowerCase();
  if (wanted === '') {
    return null;
  }
  const hits = texts.map(text => text.toLowerCase().includes(wanted));
  return tree.frames.name.map((name, frame) => tree.frames.kind[frame] !== kRest &&
    tree.frames.kind[frame] !== 0 && (hits[name] || hits[tree.frames.image[frame]]));
}

let chosen = null;  // by the keyboard
let boxes = [];     // drawn

function drawFlame() {
  layOut();
  const focus = focused();
  const width = flame.node().clientWidth;
  const matches = matchingFrames();
  const ancestors = focus.ancestors().reverse();
  const span = focus.x1 - focus.x0;
  boxes = [];
  let height = 0;
  const add = (node, left, share) => {
    boxes.push({node, id: node.data.id, left, share, pixels: share * width,
      match: matches !== null && matches[node.data.frame]});
    height = Math.max(height, node.depth + 1);
  };
  if (root.value > 0) {
    for (const node of ancestors.slice(0, -1)) {
      add(node, 0, 1);
    }
    const steps = [focus];
    while (steps.length > 0) {
      const node = steps.pop();
      const share = ratio(node.x1 - node.x0, span);
      if (share * width < leastWidth) {
        continue;
      }
      add(node, (node.x0 - focus.x0) / span, share);
      steps.push(...(node.children || []));
    }
  }
  if (chosen !== null && !boxes.some(box => box.node === chosen)) {
    chosen = null;
  }
  flame.classed('searched', matches !== null)
    .style('height', `${height * rowHeight}px`)
    .attr('aria-activedescendant', chosen === null ? null : `box${chosen.data.id}`);
  flame.selectAll('.box').data(boxes, box => box.id)
    .join(enter => enter.append('div')
      .attr('id', box => `box${box.id}`)
      .attr('role', 'treeitem')
      .attr('aria-level', box => box.node.depth + 1)
      .style('bottom', box => `${box.node.depth * rowHeight}px`))
    .attr('class', box => {
      const narrow = box.pixels < 6 ? ' narrow' : '';
      const below = box.node.depth < focus.depth ? ' below' : '';
      const match = box.match ? ' match' : '';
      return `box${narrow}${below}${match}${box.node === chosen ? ' chosen' : ''}`;
    })
    .style('left', box => `${100 * box.left}%`)
    .style('width', box => `${100 * box.share}%`)
    .style('--colour', box => comparing ? differenceColour(box.node.data) : colours[box.node.data.frame])
    .attr('aria-label', box => `${nameOf(box.node.data)}, ${percent(shareOfEvent(box.node))}`)
    .text(box => box.pixels < 22 ? '' : nameOf(box.node.data));
  d3.select('#reset').property('disabled', focus === root);
  drawMatched(focus, matches);
  drawHint(focus);
}

// Of all samples of the event, whatever is filtered.
const shareOfEvent = node => ratio(node.value, totals[shownWeight()]);

function drawMatched(focus, matches) {
  if (matches === null) {
    d3.select('#matched').text('');
    return;
  }
  // Outermost matches alone: what is above them is already in them.
  let matched = 0;
  let unknown = 0;  // in what was added up, where nobody can search
  const functions = new Set();
  const steps = [[focus, false]];
  while (steps.length > 0) {
    const [node, inside] = steps.pop();
    const match = matches[node.data.frame];
    if (match && node.value > 0) {
      functions.add(node.data.frame);
    }
    if (match && !inside) {
      matched += node.value;
    }
    if (!inside && !match && kindOf(node.data) === kRest) {
      unknown += node.value;
    }
    for (const child of node.children || []) {
      steps.push([child, inside || match]);
    }
  }
  const least = oneDigit.format(100 * ratio(matched, focus.value));
  const most = oneDigit.format(100 * ratio(matched + unknown, focus.value));
  const share = least === most ? least : `${least} to ${most}`;
  d3.select('#matched').text(functions.size === 0 && unknown === 0 ? 'nothing matches' :
    `${share} % matched: ${number.format(functions.size)} ${functions.size === 1 ? 'name' : 'names'}`);
}

function drawHint(focus) {
  const parts = ['A click zooms in; a click below zooms out; / searches; Escape shows everything; ' +
    'the arrow keys walk through the stacks.'];
  if (tree.hidden > 0) {
    parts.push(`${number.format(tree.hidden)} boxes of at most ${percent(tree.hiddenShare)} of ` +
      'each event are drawn together as “(smaller)”.');
  }
  if (root.value === 0) {
    parts.unshift(`No samples of ${data.events[state.event].name} here.`);
  }
  if (state.zoom !== 0 && focus !== laid[state.zoom]) {
    parts.unshift(`What was zoomed in on has no samples here.`);
  }
  d3.select('#hint').text(parts.join(' '));
}

// ---- the tooltip ----

const tip = d3.select('#tip');

function fillTip(node) {
  const weight = shownWeight();
  tip.text('');
  tip.append('div').attr('class', 'name').text(nameOf(node.data));
  const kind = kinds[kindOf(node.data)];
  const what = kind === 'all' ? 'everything' : kind === 'rest' ? 'what is not shown one by one' : kind;
  tip.append('div').attr('class', 'what')
    .text(imageOf(node.data) === '' ? what : `${imageOf(node.data)} · ${what}`);
  if (kind === 'hypervisor' && node.parent && kinds[kindOf(node.parent.data)] === 'process') {
    tip.append('div').attr('class', 'what').text('The code that entered it was not recorded.');
  }
  if (root.value !== totals[weight] || focused() !== root) {
    tip.append('div').attr('class', 'what')
      .text(`${percent(ratio(node.value, focused().value))} of what is shown`);
  }
  const table = tip.append('table');
  const headings = comparing ? ['', 'samples', 'share', 'base', 'share', 'difference']
    : ['', 'samples', 'of all', 'itself'];
  table.append('tr').selectAll('th').data(headings).join('th')
    .attr('class', (_, column) => column === 0 ? null : 'number').text(text => text);
  data.events.forEach((event, index) => {
    const shown = tree.samples[index][node.data.id];
    const cells = [event.name, number.format(shown)];
    if (comparing) {
      const base = tree.samples[eventCount + index][node.data.id];
      const {newShare, oldShare, change, unsure} = difference(index, shown, base);
      cells.push(percent(newShare), number.format(base), percent(oldShare),
        `${points(change)} ±${oneDigit.format(100 * unsure)}`);
    } else {
      const share = ratio(shown, totals[index]);
      cells.push(`${percent(share)} ±${oneDigit.format(100 * error(share, totals[index]))}`,
        number.format(ownSamples[index][node.data.id]));
    }
    table.append('tr').attr('class', index === state.event ? 'now' : null)
      .selectAll('td').data(cells).join('td')
      .attr('class', (_, column) => column === 0 ? null : 'number').text(text => text);
  });
}

function placeTip(x, y) {
  tip.attr('hidden', null);
  const {width, height} = tip.node().getBoundingClientRect();
  const left = Math.min(x + 14, innerWidth - width - 6);
  const top = y + 18 + height < innerHeight ? y + 18 : y - height - 10;
  tip.style('left', `${Math.max(4, left)}px`).style('top', `${Math.max(4, top)}px`);
}

function hideTip() {
  tip.attr('hidden', '');
}

// ---- pointer and keys ----

const boxAt = event => {
  const element = event.target.closest('.box');
  return element === null ? null : d3.select(element).datum().node;
};

function zoomTo(node) {
  hideTip();
  change({zoom: node.data.id});
}

const flameElement = flame.node();
let pointed = null;
flameElement.addEventListener('mousemove', event => {
  const node = boxAt(event);
  if (node === null) {
    hideTip();
  } else {
    if (node !== pointed) {
      fillTip(node);
    }
    placeTip(event.clientX, event.clientY);
  }
  pointed = node;
});
flameElement.addEventListener('mouseleave', () => {
  pointed = null;
  hideTip();
});
flameElement.addEventListener('click', event => {
  const node = boxAt(event);
  if (node !== null) {
    zoomTo(node);
  }
});
document.getElementById('scroll').addEventListener('scroll', hideTip);

function choose(node) {
  if (node === null || node === undefined) {
    return;
  }
  chosen = node;
  drawFlame();
  const element = document.getElementById(`box${node.data.id}`);
  element.scrollIntoView({block: 'nearest'});
  const place = element.getBoundingClientRect();
  fillTip(node);
  placeTip(place.left, place.bottom - 14);
}

const drawn = node => boxes.some(box => box.node === node) ? node : null;

function sibling(step) {
  const all = (chosen.parent ? chosen.parent.children : [chosen]).filter(drawn);
  return all[all.indexOf(chosen) + step];
}

flameElement.addEventListener('keydown', event => {
  const moves = {
    ArrowUp: () => (chosen.children || []).find(drawn),
    ArrowDown: () => chosen.parent,
    ArrowLeft: () => sibling(-1),
    ArrowRight: () => sibling(1),
  };
  if (event.altKey || event.ctrlKey || event.metaKey) {
    return;
  }
  if (moves[event.key] !== undefined) {
    event.preventDefault();
    choose(chosen === null ? focused() : moves[event.key]());
  } else if ((event.key === 'Enter' || event.key === ' ') && chosen !== null) {
    event.preventDefault();
    zoomTo(chosen);
  } else if (event.key === 'Backspace' && focused().parent) {
    event.preventDefault();
    zoomTo(focused().parent);
  }
});

const search = document.getElementById('search');
document.addEventListener('keydown', event => {
  if (event.key === '/' && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
    search.select();
  } else if (event.key === 'Escape') {
    hideTip();
    if (document.activeElement === search && state.search !== '') {
      event.preventDefault();
      change({search: ''});
    } else if (state.zoom !== 0) {
      change({zoom: 0});
    }
  }
});
search.addEventListener('input', () => change({search: search.value}, {replace: true}));
document.getElementById('reset').addEventListener('click', () => change({zoom: 0}));

// ---- domains and modes ----

function domainSamples(domain, weight) {
  return domain.modes.map(mode => mode[weight]);
}

const sum = list => list.reduce((all, one) => all + one, 0);

function drawDomains() {
  const weight = shownWeight();
  const base = comparing ? state.event + eventCount : null;
  const share = (samples, of) => ratio(sum(samples), totals[of]);
  const rows = data.domains.map((domain, index) => ({
    index,
    name: hasDomains ? texts[domain.name] : 'all',
    role: domain.role,
    shown: domainSamples(domain, state.event),
    base: comparing ? domainSamples(domain, base) : null,
    now: domainSamples(domain, weight),
  }));
  const largest = Math.max(1e-9, ...rows.map(row => Math.max(share(row.shown, state.event),
    comparing ? share(row.base, base) : 0)));
  d3.select('#domains-title').text(`Domains and modes: ${data.events[state.event].name}` +
    (comparing ? ' (thin: the base)' : ''));
  const domain = d3.select('#domains').selectAll('.domain').data(rows, row => row.index)
    .join(enter => {
      const fresh = enter.append('div');
      const label = fresh.append('label');
      label.append('input').attr('type', 'checkbox').on('change', toggleDomain);
      label.append('span');
      fresh.append('div').attr('class', 'bars');
      fresh.append('div').attr('class', 'share');
      fresh.append('div').attr('class', 'role');
      fresh.append('div').attr('class', 'parts');
      return fresh;
    })
    .attr('class', row => state.off.has(row.index) ? 'domain off' : 'domain');
  domain.select('input')
    .property('checked', row => !state.off.has(row.index))
    .property('disabled', rows.length === 1);
  domain.select('label span').text(row => row.name).attr('title', row => row.name);
  domain.select('.role').text(row => row.role);
  domain.select('.share').text(row => percent(share(row.now, weight)))
    .attr('title', row => `${number.format(sum(row.now))} samples`);
  domain.select('.parts').text(row => sum(row.now) === 0 ? 'no samples' : modes
    .map((mode, index) => ({mode, samples: row.now[index]})).filter(part => part.samples !== 0)
    .map(part => `${part.mode} ${percent(ratio(part.samples, sum(row.now)))}`).join(' · '));
  const bar = domain.select('.bars').selectAll('.bar')
    .data(row => comparing ? [{samples: row.shown, of: state.event}, {samples: row.base, of: base}]
      : [{samples: row.shown, of: state.event}])
    .join('div')
    .attr('class', (_, index) => index === 0 ? 'bar' : 'bar base')
    .style('width', one => `${100 * share(one.samples, one.of) / largest}%`);
  bar.selectAll('i').data(one => one.samples.map((samples, mode) =>
    ({mode: modes[mode], samples, part: ratio(samples, sum(one.samples)), of: one.of})))
    .join('i')
    .style('width', one => `${100 * one.part}%`)
    .style('--colour', one => modeColour(one.mode))
    .attr('title', one => `${one.mode}: ${number.format(one.samples)} samples, ` +
      `${percent(ratio(one.samples, totals[one.of]))} of all`);
}

function toggleDomain(row) {
  const off = new Set(state.off);
  if (!off.delete(row.index)) {
    off.add(row.index);
  }
  // Nothing at all is of no use to anybody.
  change({off: off.size === data.domains.length ? new Set() : off});
}

// ---- the table ----

const tableRows = data.table.rows.map(([cells, samples], index) => {
  const [domain, process, image, name, mode] = cells.map(cell => texts[cell]);
  return {index, domain, process, image, name, mode, samples, domainId: domainIds.get(cells[0])};
});

function columns() {
  const shown = data.events.flatMap((event, index) => {
    const share = {key: `share${index}`, heading: index === state.event ? '%' : `% ${event.name}`,
      number: true, value: row => row.samples[index],
      text: row => percentCell(row.samples[index], totals[index])};
    if (comparing) {
      return index !== state.event ? [] : [share,
        {key: `base${index}`, heading: '% base', number: true, value: row => row.samples[eventCount + index],
          text: row => percentCell(row.samples[eventCount + index], totals[eventCount + index])},
        {key: `change${index}`, heading: 'Difference', number: true,
          value: row => difference(index, row.samples[index], row.samples[eventCount + index]).change,
          size: row => Math.abs(difference(index, row.samples[index], row.samples[eventCount + index]).change),
          text: row => {
            const {change, unsure} = difference(index, row.samples[index], row.samples[eventCount + index]);
            return `${points(change)} ±${oneDigit.format(100 * unsure)}`;
          },
          colour: row => {
            const {change, certain} = difference(index, row.samples[index], row.samples[eventCount + index]);
            return !certain ? '' : change > 0 ? 'more' : 'less';
          }}];
    }
    return index !== state.event ? [share] : [share,
      {key: `samples${index}`, heading: 'Samples', number: true, value: row => row.samples[index],
        text: row => row.samples[index] === 0 ? '' : number.format(row.samples[index])}];
  });
  const name = key => ({key, heading: key[0].toUpperCase() + key.slice(1), value: row => row[key], text: row => row[key]});
  return [...shown, {...name('name'), heading: 'Function'},
    ...(hasDomains ? [name('domain')] : []), name('process')];
}

const mostTableRows = 200;

function drawTable() {
  const all = columns();
  const column = all.find(one => one.key === state.sort) ||
    all.find(one => one.key === `${comparing ? 'change' : 'share'}${state.event}`);
  const key = column.size && state.sort === null ? column.size : column.value;
  const direction = state.down ? -1 : 1;
  const rows = tableRows.filter(row => !state.off.has(row.domainId) &&
    (row.samples[state.event] !== 0 || state.sort !== null ||
      (comparing && row.samples[eventCount + state.event] !== 0)));
  rows.sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    return (typeof a === 'string' ? a.localeCompare(b) : a - b) * direction || one.index - other.index;
  });
  const shown = rows.slice(0, mostTableRows);
  d3.select('#table-title').text(`Functions: ${data.events[state.event].name}`);
  d3.select('#table thead tr').selectAll('th').data(all, one => one.key)
    .join(enter => {
      const fresh = enter.append('th');
      fresh.append('button').attr('type', 'button').on('click', sortBy);
      return fresh;
    })
    .order()
    .attr('class', one => one.number ? 'number' : null)
    .attr('aria-sort', one => one !== column ? null : state.down ? 'descending' : 'ascending')
    .select('button').text(one => one.heading);
  const wanted = state.search.trim().toLowerCase();
  const row = d3.select('#table tbody').selectAll('tr').data(shown)
    .join('tr')
    .attr('class', one => wanted !== '' && (one.name.toLowerCase().includes(wanted) ||
      one.image.toLowerCase().includes(wanted)) ? 'match' : null)
    .on('click', one => change({search: one.name}));
  row.selectAll('td').data(one => all.map(part => ({part, row: one})))
    .join('td')
    .attr('class', one => [one.part.number ? 'number' : 'name', one.part.key === 'name' ? 'function' : '',
      one.part.colour ? one.part.colour(one.row) : ''].join(' ').trim())
    .style('--colour', one => modeColour(one.row.mode))
    .attr('title', one => one.part.key === 'name' ? `${one.row.image} · ${one.row.mode}` : null)
    .text(one => one.part.text(one.row))
    .filter(one => one.part.key === 'name')
    .append('small').text(one => one.row.image);
  drawRest(shown);
}

function drawRest(shown) {
  const event = state.event;
  const all = sum(data.domains.map((domain, index) =>
    state.off.has(index) ? 0 : sum(domainSamples(domain, event))));
  const rest = all - sum(shown.map(row => row.samples[event]));
  d3.select('#rest').text(rest === 0 ? '' :
    `What is not in this table holds ${percent(ratio(rest, totals[event]))} of ${data.events[event].name}.`);
}

function sortBy(column) {
  const same = d3.select(this.parentNode).attr('aria-sort') !== null && state.sort !== null;
  state.down = same ? !state.down : column.number === true;
  state.sort = column.key;
  drawTable();
}

// ---- head and tools ----

function drawHead() {
  const title = comparing ? `${data.source.name} compared with ${data.base.name}` : data.source.name;
  document.title = `${title} – flame graph`;
  d3.select('#title').text(title);
  const side = (source, weight, name) => {
    const line = d3.select('#sources').append('div').attr('class', 'source');
    const say = text => line.append('span').text(text);
    if (name !== '') {
      say(name).attr('class', 'side');
      say(' ');
    }
    const facts = [source.recorded, source.machine].filter(text => text !== '');
    data.events.forEach((event, index) => {
      const count = weight === 0 ? event.count : event.baseCount;
      facts.push(`${number.format(totals[weight + index])} samples of ${event.name}` +
        (count > 1 ? `, one each ${number.format(count)}` : ''));
    });
    say(facts.join(' · ') + ' · ');
    say(source.losses).attr('class', source.whole ? null : 'lossy');
    for (const note of source.notes) {
      say(` Note: ${note}`);
    }
  };
  if (data.only !== '') {
    d3.select('#sources').append('div').attr('class', 'source').text(`Only ${data.only}.`);
  }
  side(data.source, 0, comparing ? data.source.name : '');
  if (comparing) {
    side(data.base, eventCount, `Base: ${data.base.name}`);
    if (data.leftOut.length > 0) {
      d3.select('#sources').append('div').attr('class', 'source lossy')
        .text(`Not compared, as only one of the two has it: ${data.leftOut.join(', ')}.`);
    }
  }
  const legend = d3.select('#legend');
  if (comparing) {
    const ramp = legend.append('span').attr('class', 'ramp');
    ramp.append('span').text('a quarter of the base’s share or less');
    for (const strength of [1, 0.5, 0.15]) {
      ramp.append('i').style('background', rampColour('less', strength));
    }
    ramp.append('i').style('background', 'var(--same)');
    for (const strength of [0.15, 0.5, 1]) {
      ramp.append('i').style('background', rampColour('more', strength));
    }
    ramp.append('span').text('four times or more');
    legend.append('span').attr('class', 'key').style('--key', 'var(--same)')
      .text('no difference beyond sampling error (95 %)');
    legend.append('span').text('Shares of each profile’s samples are compared, not amounts.');
  } else {
    for (const mode of modes) {
      legend.append('span').attr('class', 'key')
        .style('--key', modeColour(mode)).text(mode);
    }
    legend.append('span').attr('class', 'key').style('--key', 'var(--plain)').text('domain, process');
  }
}

function choice(place, options, isChosen, pick) {
  d3.select(place).selectAll('button').data(options)
    .join(enter => enter.append('button').attr('type', 'button').attr('role', 'radio')
      .on('click', pick))
    .attr('aria-checked', option => String(isChosen(option)))
    .text(option => option.name);
}

function drawTools() {
  choice('#events', data.events.map((event, index) => ({name: event.name, index})),
    option => option.index === state.event, option => change({event: option.index, sort: null, down: true}));
  if (comparing) {
    choice('#widths', [{name: 'Widths: this', base: false}, {name: 'Widths: base', base: true}],
      option => option.base === state.base, option => change({base: option.base}));
  }
  if (search.value !== state.search) {
    search.value = state.search;
  }
}

function draw() {
  drawTools();
  drawFlame();
  drawDomains();
  drawTable();
}

addEventListener('popstate', () => {
  readAddress();
  hideTip();
  draw();
});
let resizing = 0;
addEventListener('resize', () => {
  cancelAnimationFrame(resizing);
  resizing = requestAnimationFrame(drawFlame);
});

readAddress();
drawHead();
draw();
const scroll = document.getElementById('scroll');
scroll.scrollTop = scroll.scrollHeight;

})();
