"""The Jinja template of a run's page."""

TEMPLATE = """\
{%- extends "base" -%}
{%- block title -%}
{{ subject.name }}: run of {{ subject.date.strftime("%Y-%m-%d") }}
{%- endblock %}
{% block body -%}
<h1>A model of {{ subject.name }}</h1>
{%- for one in organisms %}
<p class="verdict">{{ one.name }}: \
mean Pearson r {{ number(one.model) }}, baseline {{ number(one.baseline) }}</p>
{%- endfor %}
<p>r of {{ measure }}, mean over tracks. The baseline is what counting words reaches: ridge regression on the \
6-mers of a bin and of its two neighbours, fitted on the train split, its penalty chosen on the valid split.</p>
<h2>What was trained on what</h2>
<table class="facts">
{%- for name, value in rows %}
<tr><th>{{ name }}</th><td>{{ value }}</td></tr>
{%- endfor %}
</table>
{%- for one in organisms %}
<h2>{{ one.name }}: how good it is</h2>
<p>{{ "{:,}".format(one.windows) }} windows of the test split, {{ "{:,}".format(one.bins) }} bins. \
The model is above the baseline in {{ "{:,}".format(one.above) }} of {{ "{:,}".format(one.tracks) }} tracks.
{%- if one.undefined %} {{ "{:,}".format(one.undefined) }} have no correlation, for they do not \
vary there.{% endif %}</p>
<img alt="Pearson r of model and baseline by track" src="{{ one.comparison }}">
<table class="rows">
<thead><tr><th>{{ "track" if one.all_listed else "best and worst tracks" }}</th><th>what it is</th>
<th class="number">model</th><th class="number">baseline</th><th class="number">difference</th></tr></thead>
<tbody>
{%- for track, score in one.listed %}
<tr><td>{{ track.identifier }}</td><td>{{ track.description }}</td>
<td class="number" data-name="model">{{ number(score.model) }}</td>
<td class="number" data-name="baseline">{{ number(score.baseline) }}</td>
<td class="number" data-name="difference">{{ "%+.4f" | format(score.model - score.baseline) }}</td></tr>
{%- endfor %}
</tbody></table>
{%- if one.regions %}
<p>{{ one.regions }}</p>
{%- endif %}
<h2>{{ one.name }}: where it is best and worst</h2>
<p>Pearson r within each window of the test split, mean over the tracks that vary in it.</p>
<table class="rows">
<thead><tr><th>{{ "window" if one.all_places_listed else "best and worst windows" }}</th>
<th class="number">mean r</th></tr></thead>
<tbody>
{%- for place in one.places %}
<tr><td>{{ place.name }}</td><td class="number" data-name="mean r">{{ number(place.r) }}</td></tr>
{%- endfor %}
</tbody></table>
{%- for place in one.places if place.picture %}
<h3>{{ place.title }}: {{ place.name }}</h3>
<img alt="Measured and predicted signal over {{ place.name }}" src="{{ place.picture }}">
{%- endfor %}
{%- if not one.has_genes %}
<p>No genes are drawn: the dataset's tracks name no file of genes (GTF or GFF3), or one without any.</p>
{%- endif %}
{%- endfor %}
<h2>The strongest signal of the test split</h2>
<img alt="Measured and predicted signal of the strongest windows" src="{{ strongest }}">
{%- for one in variants.organisms %}
<h2>{{ one.name }}: what the strongest variants do</h2>
<p>{{ "{:,}".format(one.variants) }} variants, {{ "{:,}".format(one.scored) }} of them scored. \
{{ variants.statistic }} = {{ variants.formula }}, R and A being the predictions of the reference and of the \
alternative allele: below 0 where the variant lowers a track's signal, above 0 where it raises it.</p>
<table class="rows">
<thead><tr><th>variant</th><th>nearest gene</th><th>track</th>
<th class="number">{{ variants.statistic }}</th></tr></thead>
<tbody>
{%- for strong in one.strongest %}
<tr><td>{{ strong.variant }}</td><td data-name="nearest gene">{{ strong.gene }}</td>
<td data-name="track">{{ strong.track }}</td>
<td class="number" data-name="{{ variants.statistic }}">{{ "%+.4f" | format(strong.score) }}</td></tr>
{%- endfor %}
</tbody></table>
{%- for strong in one.strongest if strong.picture %}
<h3>{{ strong.variant }}: ALT {{ "raises" if strong.score > 0 else "lowers" }} {{ strong.track }}</h3>
<img alt="Predictions of both alleles of {{ strong.variant }}" src="{{ strong.picture }}">
{%- endfor %}
{%- endfor %}
<h2>More</h2>
<ul>
{%- for name, place in links %}
<li><a href="{{ place }}">{{ name }}</a></li>
{%- endfor %}
</ul>
{%- endblock %}
"""
