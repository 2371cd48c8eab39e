"""The page's Jinja template: plain HTML, no script, nothing from the network."""

TEMPLATE = """\
{%- extends "base" -%}
{%- macro variant(strong) -%}
{{ strong.variant.chrom }}:{{ "{:,}".format(strong.variant.position) }} \
{{ allele(strong.variant.reference) }}&gt;{{ allele(strong.variant.alternate) }}
{%- if strong.variant.name %} ({{ strong.variant.name }}){% endif %}
{%- endmacro -%}
{%- block title %}{{ title }}: scores of variants, {{ date.strftime("%Y-%m-%d") }}{% endblock %}
{% block body -%}
<h1>Scores of variants: {{ title }}</h1>
{%- if note %}
<p class="verdict">{{ note }}</p>
{%- endif %}
<table class="facts">
{%- for name, value in rows %}
<tr><th>{{ name }}</th><td>{{ value }}</td></tr>
{%- endfor %}
</table>
{%- for one in organisms %}
<h2>{{ one.name }}</h2>
<p>{{ "{:,}".format(one.summary.statuses.total()) }} variants of {{ one.file }}: {{ one.statuses }}. \
Each is scored in {{ one.summary.tracks | length }} tracks.</p>
<p>{{ statistic }} = {{ formula }}; R and A are the predictions of the reference and of the alternative \
allele, {{ one.strands }}, and sums run over the bins of a window about the variant. \
Variants are ranked by the largest absolute {{ statistic }} over all tracks.</p>
<h3>The strongest variants</h3>
{%- if one.summary.strongest %}
<table class="rows">
<thead><tr><th>variant</th>{% if one.genes %}<th>nearest gene</th>{% endif %}<th>track</th>
{%- for name in statistics %}<th class="number">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{%- for strong in one.summary.strongest %}
<tr><td>{{ variant(strong) }}</td>
{%- if one.genes %}<td data-name="nearest gene">{{ one.genes[strong.row] }}</td>{% endif %}
<td data-name="track">{{ one.summary.tracks[strong.track].identifier }}</td>
{%- for name in statistics %}
<td class="number" data-name="{{ name }}">{{ number(strong.scores[name]) }}</td>
{%- endfor %}</tr>
{%- endfor %}
</tbody></table>
{%- else %}
<p>No variant was scored.</p>
{%- endif %}
{%- for picture in one.drawn %}
<h4>{{ variant(picture.strong) }}</h4>
<img alt="Predictions of both alleles of {{ picture.strong.variant }}" \
src="{{ picture.png }}">
{%- endfor %}
<h3>Scores by assay</h3>
{%- if one.summary.strongest %}
<table class="rows">
<thead><tr><th>assay</th><th class="number">tracks</th>
<th class="number">median |{{ statistic }}|</th><th class="number">99% are below</th></tr></thead>
<tbody>
{%- for assay, spread in one.summary.spreads.items() %}
<tr><td>{{ assay }}</td><td class="number" data-name="tracks">{{ spread.tracks }}</td>
<td class="number" data-name="median |{{ statistic }}|">{{ size(spread.quantile(0.5)) }}</td>
<td class="number" data-name="99% are below">{{ size(spread.quantile(0.99)) }}</td></tr>
{%- endfor %}
</tbody></table>
<img alt="How large scores are, by assay" src="{{ one.spreads }}">
{%- endif %}
<h3>What changed</h3>
{%- if one.comparison %}
<p>Against the model that was pushed before, version {{ one.comparison.version }}: \
{{ "{:,}".format(one.comparison.variants) }} variants are scored by both. Rank correlation (Spearman) of \
{{ statistic }} by track
{%- if one.comparison.sampled < one.comparison.variants %}, over \
{{ "{:,}".format(one.comparison.sampled) }} of them, evenly spaced{% endif %}: median \
{{ "%.3f" | format(one.median) }} over {{ one.defined }} tracks.</p>
{%- if one.correlated %}
<table class="rows">
<thead><tr><th>{{ "track" if one.all_listed else "tracks that changed most" }}</th><th>description</th>
<th class="number">rank correlation</th></tr></thead>
<tbody>
{%- for track, value in one.correlated %}
<tr><td>{{ track.identifier }}</td><td data-name="description">{{ track.description }}</td>
<td class="number" data-name="rank correlation">{{ "%.3f" | format(value) }}</td></tr>
{%- endfor %}
</tbody></table>
{%- endif %}
{%- if one.correlations %}
<img alt="Rank correlations by assay" src="{{ one.correlations }}">
{%- endif %}
{%- if one.comparison.moved %}
<h4>The variants whose score moved most</h4>
<table class="rows">
<thead><tr><th>variant</th><th>track</th><th class="number">{{ statistic }} before</th>
<th class="number">now</th><th class="number">change</th></tr></thead>
<tbody>
{%- for moved in one.comparison.moved %}
<tr><td>{{ variant(moved.now) }}</td>
<td data-name="track">{{ one.summary.tracks[moved.now.track].identifier }}</td>
<td class="number" data-name="{{ statistic }} before">{{ number(moved.before) }}</td>
<td class="number" data-name="now">{{ number(moved.now.scores[statistic]) }}</td>
<td class="number" data-name="change">{{ number(moved.now.scores[statistic] - moved.before) }}</td></tr>
{%- endfor %}
</tbody></table>
{%- else %}
<p>No score changed.</p>
{%- endif %}
{%- else %}
<p>Nothing to compare with: {{ one.reason }}.</p>
{%- endif %}
{%- endfor %}
{%- endblock %}
"""
