"""Files that the field shares: FASTA, BED, GFF3, GTF, bigWig, text; intervals, contig names, DNA letters."""
